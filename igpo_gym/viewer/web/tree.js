// Attempts of which some branched off others.

// In the order in which a tree is read: what branched off stands behind what it left.
function tree(attempts) {
  const rootOf = (each) => (each.branch ? each.branch[0] : each.attempt);
  return [...attempts].sort((one, other) =>
    one.group - other.group || rootOf(one) - rootOf(other) || !!one.branch - !!other.branch || one.attempt - other.attempt);
}

const leaving = ({ branch: [attempt, turn] }) => `left attempt ${attempt + 1} ${turn ? `after turn ${turn}` : "at the prompt"}`;

// A line for each attempt, from left to right through its turns. A turn that attempts share stands once, on the
// line of the one that was left; the others begin where their line leaves that one.
function Tree({ attempts }) {
  if (!attempts.some((each) => each.branch)) return null;
  const rows = tree(attempts);
  const places = new Map(rows.map((each, row) => [`${each.group} ${each.attempt}`, row]));
  const x = (turn) => 120 + 46 * turn;
  const y = (row) => 22 + 36 * row;
  const end = x(largest(rows.map((each) => each.turns)));
  const told = rows.map((each) => `${attemptOf(each)}${each.branch ? ` ${leaving(each)}` : ""}, ${counted(each.turns, "turn")}`);
  return html`<div class="wide"><svg class="tree" role="group" width=${end + 300} height=${y(rows.length - 1) + 24}
      aria-label=${`Tree of attempts: ${told.join("; ")}`}>
    ${rows.map((each, row) => {
      const from = each.branch && places.get(`${each.group} ${each.branch[0]}`);
      const start = known(from) ? each.branch[1] : 0;
      return html`<path d=${`M${x(start)} ${y(known(from) ? from : row)}V${y(row)}H${x(each.turns)}`} />`;
    })}
    ${rows.map((each, row) => {
      const first = each.branch && places.has(`${each.group} ${each.branch[0]}`) ? each.branch[1] + 1 : 0;
      const acts = details(each).turns.map(action);
      const rise = gains(each);
      return html`<g>
        <a href=${to(["episode", each.key])} aria-label=${told[row]}><text x="4" y=${y(row) + 5}>${each.branch ? "↳ " : ""}${attemptOf(each)}</text></a>
        ${Array.from({ length: each.turns + 1 - first }, (_, place) => place + first).map((turn) => {
          const gain = turn && rise[turn - 1];
          const says = turn ? `turn ${turn} of ${attemptOf(each)}: ${shorten(acts[turn - 1], 90)}${known(gain) && turn ? `, gain ${signed(gain)}` : ""}` : "the prompt";
          return html`<a href=${to(["episode", each.key, String(turn)])} aria-label=${says}><title>${says}</title>
            <circle class=${turn && gain > 0 ? "up" : turn && gain < 0 ? "down" : ""} cx=${x(turn)} cy=${y(row)} r="12" />
            <text class="number" x=${x(turn)} y=${y(row) + 5}>${turn || "Q"}</text></a>`;
        })}
        <text class="outcome" x=${x(each.turns) + 22} y=${y(row) + 5}>F1 ${fixed(each.scores.f1)}${each.prediction === null ? "" : ` “${shorten(each.prediction, 30)}”`}</text>
      </g>`;
    })}
  </svg></div>`;
}
