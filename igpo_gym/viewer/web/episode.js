// One episode: the dialogue, and beside each turn what it was paid.

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

// What a turn was paid under each reward: its terms, their sum, and the advantage.
function Pay({ rewards, place, scale }) {
  return Object.entries(rewards).map(([name, { terms, advantages }]) => {
    const paid = Object.entries(terms[place] || {});
    return html`<table class="pay"><caption>${name}</caption><tbody>
      ${paid.map(([term, value]) => html`<tr><th scope="row">${term}</th><td>${signed(value)}</td></tr>`)}
      <tr class="sum"><th scope="row">reward</th><td>${signed(paid.reduce((sum, [, value]) => sum + (value || 0), 0))}</td></tr>
      <tr><th scope="row">advantage</th><td>${advantages ? html`<${Ink} value=${advantages[place]} scale=${scale} digits=${2} />` : "–"}</td></tr>
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
      <${Pay} rewards=${own.rewards} place=${place} scale=${scales.advantage} />
      <${Measured} values=${own.measured[place + 1]} />
    </aside>
  </section>`;
}

function Facts({ episode }) {
  const { scores, asked } = episode;
  const others = asked.attempts.length;
  const facts = [
    ["end", episode.end], ...Object.entries(scores).map(([name, value]) => [name.replace("_", " "), fixed(value)]),
    ["turns", episode.turns], ["run", RUNS[episode.run]], ["agent", episode.agent], ["set", episode.set],
    ["hops", asked.hops],
  ].filter(([, value]) => known(value) && value !== "");
  return html`<ul class="facts" aria-label="Facts">${facts.map(([name, value]) => html`<li><span>${name}</span> ${value}</li>`)}
    ${others > 1 && html`<li><a href=${to(["attempts", asked.key])}>all ${others} attempts side by side</a></li>`}
    ${Object.keys(episode.returns).length > 1 && html`<li><a href=${to(["rewards", episode.key])}>under two rewards</a></li>`}</ul>`;
}

function QuestionHead({ asked, children }) {
  return html`<header class="head">${children}
    <h1 tabindex="-1">${asked.text}</h1>
    <p class="gold-line"><span class="tag">gold</span> ${asked.answers.map((answer, place) => html`${place > 0 && " / "}<mark class="answer">${answer}</mark>`)}</p>
    ${asked.protected && html`<p class="protected" role="note">🔒 This question is of a protected set: its record shows hashes in the place of texts.</p>`}</header>`;
}

function EpisodeView({ episode, turn }) {
  const own = details(episode);
  const { query } = address();
  const tokens = query.get("tokens") === "1";
  const order = useMemo(ordered, [query.toString()]);
  const place = order.indexOf(episode);
  const near = (step) => place >= 0 && order[place + step];
  const scales = {
    gain: largest(gains(episode)),
    advantage: largest(Object.values(own.rewards).flatMap((each) => each.advantages || [])),
  };
  useEffect(() => {
    if (turn !== null) document.getElementById(turn ? `turn-${turn}` : "prompt")?.scrollIntoView({ block: "start" });
  }, [episode.key, turn]);
  const right = episode.scores.f1 === 1;
  return html`<article>
    <${QuestionHead} asked=${episode.asked}>
      <p class="path"><a href=${to([])}>Episodes</a> <span class="note">${place >= 0 ? `${place + 1} of ${order.length}` : "not in the filtered list"}, attempt ${episode.attempt + 1}</span>
        <span class="steps">${[[-1, "← previous", "k"], [1, "next →", "j"]].map(([step, title, key]) => near(step)
          ? html`<a class="button" href=${to(["episode", near(step).key])} title=${`key ${key}`}>${title}</a>`
          : html`<span class="button off" aria-disabled="true">${title}</span>`)}
        <button class="button" aria-pressed=${tokens} title="key t" onClick=${() => set("tokens", tokens ? "" : "1")}>Tokens</button></span></p>
    <//>
    <p class="verdict">${episode.prediction === null ? "No answer" : html`Answer “${episode.prediction}”`}
      <strong class=${right ? "good" : "bad"}>${right ? "✓ right" : episode.scores.f1 > 0 ? "≈ partly right" : "✗ wrong"}</strong></p>
    <${Facts} episode=${episode} />
    <${Curve} episode=${episode} turn=${turn} views=${own.views} onTurn=${(to) => go(["episode", episode.key, String(to)], undefined, true)} />
    ${tokens && html`<div class="wide">${own.answers.length
      ? own.answers.map((answer) => html`<${AnswerTokens} answer=${answer} />`)
      : html`<p class="note">the record holds no log-probabilities of the gold answer's tokens</p>`}</div>`}
    <details id="prompt" class="prompt" open=${turn === 0}><summary>Prompt, ${counted(own.prompt.length, "piece")}${known(episode.beliefs[0]) ? `, belief ${fixed(episode.beliefs[0], 3)}` : ""}</summary>
      ${own.prompt.map((piece) => html`<p class="speaker">${piece.role}</p><div class="text">${piece.text}</div>`)}
      <details><summary>Settings</summary><table class="plain"><tbody>${Object.entries(own.settings).map(([name, value]) => html`<tr><th scope="row">${name}</th><td>${typeof value === "object" ? JSON.stringify(value) : String(value)}</td></tr>`)}</tbody></table></details>
    </details>
    ${own.turns.map((_, number) => html`<${Turn} key=${`${episode.key} ${number}`} episode=${episode} own=${own} place=${number} current=${turn === number + 1} tokens=${tokens} scales=${scales} />`)}
    <p class="note">Advantages: ${ESTIMATOR}, within the attempts at this question in the run; marks: <mark class="gold">gold passage</mark>, <mark class="answer">gold answer</mark>.</p>
  </article>`;
}
