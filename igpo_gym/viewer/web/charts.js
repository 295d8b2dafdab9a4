// Drawings. Each says in words what it shows; a sign is told by side, hatching and number, not by color alone.

// The belief after every turn, small: filled at the end where the answer is right.
function Sparkline({ episode, width = 72, height = 22 }) {
  const { beliefs, turns, scores } = episode;
  const x = (turn) => 4 + (turn / Math.max(turns, 1)) * (width - 8);
  const y = (belief) => height - 4 - belief * (height - 8);
  const points = beliefs.map((belief, turn) => `${x(turn).toFixed(1)},${y(belief).toFixed(1)}`);
  const told = beliefs.map((belief) => fixed(belief)).join(", ");
  const right = scores.f1 === 1;
  const end = beliefs.length ? y(beliefs[beliefs.length - 1]) : height / 2;
  return html`<svg class="spark" width=${width} height=${height} role="img"
      aria-label=${beliefs.length ? `beliefs ${told}` : "no beliefs"}>
    <line class="base" x1="0" x2=${width} y1=${height - 2.5} y2=${height - 2.5} />
    <polyline points=${points.join(" ")} />
    <circle class=${right ? "right" : "wrong"} cx=${x(Math.max(beliefs.length - 1, 0))} cy=${end} r="3" />
  </svg>`;
}

// A signed number as ink to the right or left of a middle line.
function Ink({ value, scale, digits = 3 }) {
  if (!known(value)) return html`<span class="none">–</span>`;
  const share = scale ? Math.min(Math.abs(value) / scale, 1) * 50 : 0;
  const side = value < 0 ? "down" : "up";
  const style = { width: `${share}%`, [value < 0 ? "right" : "left"]: "50%" };
  return html`<span class="ink">
    <span class="axis" aria-hidden="true"><span class=${side} style=${style}></span></span>
    <span class=${`number ${value ? side : ""}`}>${signed(value, digits)}</span>
  </span>`;
}

// A probability as a bar.
function Bar({ value }) {
  if (!known(value)) return html`<span class="none">–</span>`;
  return html`<span class="bar">
    <span class="axis" aria-hidden="true"><span style=${{ width: `${value * 100}%` }}></span></span>
    <span class="number">${fixed(value, 3)}</span>
  </span>`;
}

// The belief curve of an episode, with a button for each turn.
function Curve({ episode, turn, views, onTurn }) {
  const { beliefs, turns } = episode;
  const count = Math.max(turns, beliefs.length - 1, 1);
  const left = (place) => 3 + (place / count) * 94;
  const line = (values) => values.map((value, place) => `${left(place) * 10},${108 - value * 96}`).join(" ");
  const rise = gains(episode);
  const label = (place) => {
    const belief = known(beliefs[place]) ? `belief ${fixed(beliefs[place], 3)}` : "no belief";
    const gain = place && known(rise[place - 1]) ? `, gain ${signed(rise[place - 1])}` : "";
    const unread = episode.unread.includes(place) ? ", not read by the scorer" : "";
    return `${place ? `Turn ${place}` : "Prompt"}: ${belief}${gain}${unread}`;
  };
  return html`<nav class="curve" aria-label="Turns, with the belief after each">
    <svg viewBox="0 0 1000 120" preserveAspectRatio="none" aria-hidden="true">
      ${[0, 0.5, 1].map((level) => html`<line class="grid" x1="30" x2="970" y1=${108 - level * 96} y2=${108 - level * 96} />`)}
      ${views.map((view) => html`<polyline class="view" points=${line(view.beliefs)} />`)}
      <polyline class="belief" points=${line(beliefs)} />
    </svg>
    <span class="level" style=${{ top: "4px" }} aria-hidden="true">1</span>
    <span class="level" style=${{ top: "100px" }} aria-hidden="true">0</span>
    ${beliefs.map((belief, place) => html`<span class="dot" aria-hidden="true"
      style=${{ left: `${left(place)}%`, top: `${108 - belief * 96}px` }}></span>`)}
    ${Array.from({ length: turns + 1 }, (_, place) => html`<button class="jump" key=${place}
      style=${{ left: `${left(place)}%` }} aria-current=${place === turn ? "step" : null}
      aria-label=${label(place)} title=${label(place)} onClick=${() => onTurn(place)}>${place || "Q"}</button>`)}
    ${beliefs.length === 0 && html`<p class="legend">the record holds no beliefs: no scorer was at work</p>`}
    ${views.length > 0 && html`<p class="legend">dashed: ${views.map((view) => view.name).join("; ")}</p>`}
  </nav>`;
}

const odds = (value) => (known(value) ? Math.exp(value) : null);

// Sampled tokens: the less likely, the darker.
function Tokens({ tokens }) {
  const { texts, log_probs: values } = tokens;
  const [open, setOpen] = useState(false);
  const worst = values.reduce((least, value, place) => (value < values[least] ? place : least), 0);
  return html`<div class="tokens">
    <p class="note">${counted(texts.length, "token")}, mean log-probability ${fixed(mean(values))};
      least likely ${JSON.stringify(texts[worst])} at ${fixed(values[worst])}</p>
    <p class="text">${texts.map((text, place) => {
      const depth = Math.min(-values[place] / 6, 1) || 0;
      const told = `${fixed(values[place], 3)} nats, probability ${fixed(odds(values[place]), 3)}`;
      return html`<span class=${depth > 0.6 ? "token deep" : "token"} style=${{ "--depth": `${(depth * 100).toFixed(0)}%` }} title=${told}>${text}</span>`;
    })}</p>
    <details onToggle=${(event) => setOpen(event.target.open)}><summary>Numbers</summary>${open && html`<table class="answer-tokens">
      <thead><tr><th scope="col">token</th><th scope="col">log-probability</th><th scope="col">probability</th></tr></thead>
      <tbody>${texts.map((text, place) => html`<tr><th scope="row"><code>${JSON.stringify(text)}</code></th><td>${fixed(values[place], 3)}</td><td>${fixed(odds(values[place]), 3)}</td></tr>`)}</tbody>
    </table>`}</details>
  </div>`;
}

// The tokens of a gold answer, with the probability of each after every turn.
function AnswerTokens({ answer }) {
  const names = answer.tokens || answer.log_probs[0].map((_, place) => `token ${place + 1}`);
  return html`<table class="answer-tokens">
    <caption>Gold answer ${JSON.stringify(answer.answer)}: probability of each token</caption>
    <thead><tr><th scope="col">after</th>${names.map((name) => html`<th scope="col"><code>${name}</code></th>`)}<th scope="col">belief</th></tr></thead>
    <tbody>${answer.log_probs.map((row, state) => html`<tr>
      <th scope="row">${state ? `turn ${state}` : "prompt"}</th>
      ${row.map((value) => html`<td class="shaded" style=${{ "--share": `${((odds(value) || 0) * 70).toFixed(0)}%` }}>${fixed(odds(value), 3)}</td>`)}
      <td>${fixed(row.length && row.every(known) ? odds(mean(row)) : null, 3)}</td></tr>`)}</tbody>
  </table>`;
}
