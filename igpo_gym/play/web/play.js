// The page of `igpo-gym play --web`: a question, forms for what can be done, and what each message was paid.

const { agent: AGENT, tools: TOOLS } = JSON.parse(document.getElementById("summary").textContent);

// An answer of the server, or an error with its one line.
async function ask(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, body ? post : {});
  } catch {
    throw Object.assign(new Error("the server does not answer; is igpo-gym play still running?"), { status: 0 });
  }
  const told = await answer.json().catch(() => ({ detail: `the server answered with status ${answer.status}` }));
  if (!answer.ok) throw Object.assign(new Error(told.detail), { status: answer.status });
  return told;
}

const keyOf = () => decoded(location.hash.replace(/^#\/?/, ""));

// A form of one action. What was typed goes once it was played, and stays where that failed. Tools name their fields as
// they like, such as "length" or "reset", so that nothing is asked of the form by name.
function ActionForm({ name, title, fields, send, busy, label, shortcut }) {
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const typed = new FormData(form);
    const filled = fields.map(({ name: field, kind }) => [field, kind, typed.get(field)]).filter(([, , text]) => text.trim());
    const given = filled.map(([field, kind, text]) => [field, kind === "text" ? text : kind === "number" ? Number(text) : parsed(text)]);
    if (await send(Object.fromEntries(given))) HTMLFormElement.prototype.reset.call(form);
  };
  return html`<form onSubmit=${submit} aria-label=${title}>
    ${fields.map((field, place) => html`<label class=${place ? "small" : ""} title=${field.help}><span>${place ? field.name : title}</span>
      ${field.long
        ? html`<textarea id=${`${name}-${field.name}`} name=${field.name} rows="2"></textarea>`
        : html`<input id=${`${name}-${field.name}`} name=${field.name} required=${field.required} autocomplete="off" inputmode=${field.kind === "number" ? "numeric" : "text"}
            list=${field.name === "document" ? "documents" : null} aria-keyshortcuts=${place ? null : shortcut} />`}</label>`)}
    <button class="button" aria-disabled=${busy}>${label}</button></form>`;
}
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// How the episode ended, and, only now, the gold answer.
function Verdict({ state: { question, episode } }) {
  const { f1 } = episode.scores;
  return html`<p class="verdict">${episode.prediction === null ? `No answer: ${episode.end}` : html`Answer “${episode.prediction}”`}
      <strong class=${f1 === 1 ? "good" : "bad"}>${f1 === 1 ? "✓ right" : f1 > 0 ? "≈ partly right" : "✗ wrong"}</strong> <span class="note">F1 ${fixed(f1)}, reward in all ${Object.values(episode.returns).map((value) => signed(value)).join(", ")}</span></p>
    <p class="gold-line"><span class="tag">gold</span> ${question.answers.map((answer, place) => html`${place > 0 && " / "}<mark class="answer">${answer}</mark>`)}</p>`;
}

const titled = (text) => text[0].toUpperCase() + text.slice(1);
const SHORTCUTS = new Map([["search", "/"], ["open", "o"]]);

function Controls({ state, busy, problem, send, begin }) {
  const { episode, own, only_answer: onlyAnswer, left } = state;
  const ended = episode.end !== "running";
  const documents = [...new Set(own.turns.flatMap((turn) => turn.passages.map(([title]) => title)))];
  const fields = onlyAnswer ? [] : TOOLS.filter(({ name }) => SHORTCUTS.has(name)).map(({ name }) => [SHORTCUTS.get(name), name]);
  const keys = [...(ended || AGENT ? [] : [...fields, ["a", "answer"], ["Esc", "leave a field"]]), ["n", "new question"]];
  return html`<div class="controls" role="region" aria-label="What to do">
    <p class="problem" role="alert">${problem}</p>
    ${ended && html`<${Verdict} state=${state} />`}
    ${!ended && AGENT && html`<form onSubmit=${(event) => { event.preventDefault(); send({}); }}>
      <button id="next" class="button" aria-disabled=${busy}>${busy ? "Playing…" : "Next message"}</button></form>`}
    ${!ended && !AGENT && html`
      ${!onlyAnswer && TOOLS.map((tool) => html`<${ActionForm} key=${tool.name} name=${tool.name} title=${titled(tool.name)} label=${titled(tool.name)} fields=${tool.fields} busy=${busy}
        shortcut=${SHORTCUTS.get(tool.name)} send=${(given) => send({ tool: tool.name, arguments: given })} />`)}
      <${ActionForm} key="answer" name="answer" title="Answer" label="Answer" fields=${[{ name: "text", kind: "text", required: true }]} busy=${busy} shortcut="a" send=${({ text }) => send({ answer: text })} />
      <details><summary>A whole message</summary><${ActionForm} name="message" title="Message" label="Send" fields=${[{ name: "text", kind: "text", long: true }]} busy=${busy} send=${({ text = "" }) => send({ message: text })} /></details>
      <datalist id="documents">${documents.map((title) => html`<option value=${title} />`)}</datalist>`}
    <p class="note"><button id="new" class="button" aria-disabled=${busy} onClick=${begin}>New question</button>
      ${" "}${ended ? "The episode has ended." : onlyAnswer ? "Only an answer is still allowed." : `${counted(left, "message")} left.`}
      ${" "}Keys: ${keys.map(([key, what]) => html`<kbd>${key}</kbd> ${what}, `)}<kbd>←</kbd> <kbd>→</kbd> turns.</p>
  </div>`;
}

// What a screen reader is told after each message.
function Told({ state: { episode } }) {
  const { turns, beliefs } = episode;
  const gain = turns ? gains(episode)[turns - 1] : null;
  return html`<p class="hidden" role="status">${turns ? `Turn ${turns}: ` : ""}${known(beliefs[turns]) ? `belief ${fixed(beliefs[turns], 3)}` : "no new belief"}${known(gain) ? `, gain ${signed(gain)}` : ""}${episode.end === "running" ? "" : `, ${episode.end}`}</p>`;
}

function Play() {
  const [state, setState] = useState(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const [turn, setTurn] = useState(null);
  const working = useRef(false);

  // One request at a time; its failure is one line, and what was asked can be asked again.
  async function once(request) {
    if (working.current) return false;
    working.current = true;
    setBusy(true);
    try {
      const found = await request();
      setState(found);
      setProblem("");
      setTurn(found.episode.turns);
      if (keyOf() !== found.key) history.replaceState(null, "", `#/${found.key}`);
      return true;
    } catch (error) {
      setProblem(error.message);
      if (error.status === 409) setState(await ask(`episodes/${encodeURIComponent(state.key)}`).catch(() => state));
      return false;
    } finally {
      working.current = false;
      setBusy(false);
    }
  }
  const begin = () => once(() => ask("episodes", {}));
  const load = () => (keyOf() ? once(() => ask(`episodes/${encodeURIComponent(keyOf())}`)) : begin());
  const send = (action) => once(() => ask(`episodes/${encodeURIComponent(state.key)}/turns`, { turns: state.episode.turns, action }));

  useEffect(() => { load(); }, []);
  useEffect(() => {
    if (turn !== null) document.getElementById(turn ? `turn-${turn}` : "prompt")?.scrollIntoView({ block: "start" });
  }, [turn, state?.key]);
  useEffect(() => {
    document.querySelector(AGENT ? "#next" : ".controls input")?.focus({ preventScroll: true });
  }, [state?.key]);
  useEffect(() => {
    window.addEventListener("hashchange", load);
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.matches("input, textarea")) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const field = { "/": "search", o: "open", a: "answer" }[event.key];
      const input = field && document.querySelector(`.controls input[id^="${field}-"]`);
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (input) input.focus();
      else if (event.key === "n") begin();
      else if (step && state) setTurn(Math.min(Math.max((turn || 0) + step, 0), state.episode.turns));
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => {
      window.removeEventListener("hashchange", load);
      document.removeEventListener("keydown", press);
    };
  });

  if (!state) return html`<article class="play"><h1>igpo-gym play</h1>${problem
    ? html`<p class="problem" role="alert">${problem}</p><p><button class="button" onClick=${load}>Try again</button> <button id="new" class="button" onClick=${begin}>New question</button></p>`
    : html`<p role="status">The model reads the question…</p>`}</article>`;
  const { episode, own } = state;
  const scales = { gain: largest(gains(episode)), advantage: null };
  return html`<main><article class="play" aria-busy=${busy}>
      <div class="top"><h1 tabindex="-1">${state.question.text}</h1>
      ${AGENT && html`<p class="note">${AGENT} plays</p>`}
      <${Curve} episode=${episode} turn=${turn} views=${own.views} onTurn=${setTurn} /></div>
      <${Told} state=${state} />
      <section id="prompt" class="prompt"><details><summary>Prompt</summary>
        ${own.prompt.map((piece) => html`<p class="speaker">${piece.role}</p><div class="text">${piece.text}</div>`)}</details>
        <dl class="belief-now"><dt>belief</dt><dd><${Bar} value=${episode.beliefs[0]} /></dd></dl></section>
      ${own.turns.map((_, place) => html`<${Turn} key=${`${state.key} ${place}`} episode=${episode} own=${own} place=${place} current=${turn === place + 1} tokens=${false} scales=${scales} />`)}
    </article>
    <${Controls} key=${state.key} state=${state} busy=${busy} problem=${problem} send=${send} begin=${begin} /></main>`;
}

render(html`<${Play} />`, document.getElementById("page"));
