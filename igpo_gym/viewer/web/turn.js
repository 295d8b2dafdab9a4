// One turn: the dialogue, and beside it what it was paid.

const LONG = 700; // characters of a reply from which on it is folded
const MARKS = { g: "gold", a: "answer", ga: "gold answer" };
const SPOKEN = { g: "gold passage", a: "gold answer", ga: "gold answer in a gold passage" };

function Pieces({ pieces }) {
  return pieces.map(([text, mark]) => (mark ? html`<mark class=${MARKS[mark]} title=${SPOKEN[mark]}>${text}</mark>` : text));
}

function Foldable({ pieces, cut }) {
  const [open, setOpen] = useState(false);
  const length = pieces.reduce((sum, [text]) => sum + text.length, 0);
  const long = length > LONG;
  let room = open || !long ? Infinity : LONG / 2;
  const shown = [];
  for (const [text, mark] of pieces) {
    if (room <= 0) break;
    shown.push([text.slice(0, room), mark]);
    room -= text.length;
  }
  const hidden = pieces.slice(shown.length - 1).some(([, mark]) => mark);
  return html`<div class="text"><${Pieces} pieces=${shown} />${long && !open && "…"}</div>
    ${long && html`<button class="fold" aria-expanded=${open} onClick=${() => setOpen(!open)}>
      ${open ? "Fold" : `Show all ${counted(length, "character")}${hidden ? ", with marks" : ""}`}</button>`}
    ${cut > 0 && html`<p class="note cut">✂ ${counted(cut, "character")} more were cut by the environment's limits</p>`}`;
}

function Message({ turn, tokens }) {
  if (tokens && turn.tokens) return html`<${Tokens} tokens=${turn.tokens} />`;
  return html`${tokens && html`<p class="note">the record holds no sampled tokens of this message</p>`}
    ${turn.message.map(([tag, pieces]) => html`<div class=${`block ${tag === "think" ? "thought" : ""}`}>
      ${tag && html`<span class="tag">${tag === "think" ? "thought" : tag}</span>`}
      <div class="text">${pieces.length ? html`<${Pieces} pieces=${pieces} />` : html`<span class="note">empty</span>`}</div></div>`)}
    ${turn.message.length === 0 && html`<p class="note">an empty message</p>`}`;
}

function Reply({ turn }) {
  const golden = turn.passages.filter(([, gold]) => gold).length;
  return html`<div class="reply">
    <p class="speaker">Environment${turn.failed && html` <strong class="alarm">a tool was unavailable</strong>`}</p>
    ${turn.passages.length > 0 && html`<p class="note">${counted(turn.passages.length, "passage")}${golden ? `, ${golden} gold` : ""}:${" "}${turn.passages.map(([title, gold], place) => html`${place > 0 && " · "}<span class=${gold ? "gold-title" : ""}>${gold && "★ "}${title}</span>`)}</p>`}
    <${Foldable} pieces=${turn.reply} cut=${turn.cut} />
  </div>`;
}

// What a turn was paid under each reward: its terms, their sum, and, where advantages have a scale, the advantage.
function Pay({ rewards, place, scale }) {
  return Object.entries(rewards).map(([name, { terms, advantages }]) => {
    const paid = Object.entries(terms[place] || {});
    return html`<table class="pay"><caption>${name}</caption><tbody>
      ${paid.map(([term, value]) => html`<tr><th scope="row">${term}</th><td>${signed(value)}</td></tr>`)}
      <tr class="sum"><th scope="row">reward</th><td>${signed(paid.reduce((sum, [, value]) => sum + (value || 0), 0))}</td></tr>
      ${known(scale) && html`<tr><th scope="row">advantage</th><td>${advantages ? html`<${Ink} value=${advantages[place]} scale=${scale} digits=${2} />` : "–"}</td></tr>`}
    </tbody></table>`;
  });
}

function Measured({ values }) {
  const told = Object.entries(values || {});
  return told.length > 0 && html`<dl class="measured">${told.map(([name, value]) => html`<dt>${name}</dt>
    <dd>${value !== null && typeof value === "object" ? Object.entries(value).map(([key, each]) => `${key} ${each}`).join(", ") : String(value)}</dd>`)}</dl>`;
}

function Turn({ episode, own, place, current, tokens, scales }) {
  const turn = own.turns[place];
  const gain = gains(episode)[place];
  const belief = episode.beliefs[place + 1];
  return html`<section class=${`turn ${current ? "current" : ""}`} id=${`turn-${place + 1}`} aria-labelledby=${`turn-${place + 1}-title`} tabindex="-1">
    <div class="dialogue">
      <h2 id=${`turn-${place + 1}-title`}><span class="turn-number">Turn ${place + 1}</span>
        <span class=${`action ${turn.action.kind}`}>${shorten(action(turn), 160)}</span></h2>
      <p class="speaker">Agent${turn.weights && html` <span class="note">weights ${turn.weights}</span>`}</p>
      <${Message} turn=${turn} tokens=${tokens} />
      ${turn.reply.length > 0 && html`<${Reply} turn=${turn} />`}
    </div>
    <aside aria-label=${`What turn ${place + 1} was paid`}>
      <dl class="belief-now">
        <dt>belief</dt><dd><${Bar} value=${belief} /></dd>
        <dt>gain</dt><dd><${Ink} value=${gain} scale=${scales.gain} /></dd>
      </dl>
      ${episode.unread.includes(place + 1) && html`<p class="note">the belief is that of the turn before: the scorer could not read this one</p>`}
      <${Pay} rewards=${own.rewards} place=${place} scale=${scales.advantage} />
      <${Measured} values=${own.measured[place + 1]} />
    </aside>
  </section>`;
}
