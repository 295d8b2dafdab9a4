// Lists: of episodes, and of questions with all attempts at each. Rows out of sight are not drawn.

// The keys of the rows of the list that is shown, in its order.
const listed = { keys: [] };

function VirtualTable({ label, columns, rows, height, selected, sort, onSort, onOpen }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, room: 800 });
  listed.keys = rows.map((row) => row.key);
  const read = () => setView({ top: box.current.scrollTop, room: box.current.clientHeight || 800 });
  useEffect(() => {
    read();
    window.addEventListener("resize", read);
    return () => window.removeEventListener("resize", read);
  }, []);
  useEffect(() => {
    const place = rows.findIndex((row) => row.key === selected);
    if (place < 0) return;
    const { scrollTop, clientHeight } = box.current;
    const top = place * height;
    if (top < scrollTop) box.current.scrollTop = top;
    if (top + 2 * height > scrollTop + clientHeight) box.current.scrollTop = top + 2 * height - clientHeight;
  }, [selected, rows]);
  const first = Math.max(0, Math.floor(view.top / height) - 8);
  const last = Math.min(rows.length, Math.ceil((view.top + view.room) / height) + 8);
  const spacer = (count) => count > 0 && html`<tr class="spacer" aria-hidden="true" style=${{ height: `${count * height}px` }}><td colspan=${columns.length}></td></tr>`;
  return html`<div class="scroller" ref=${box} onScroll=${read} tabindex="0" role="region" aria-label=${label}>
    <table aria-rowcount=${rows.length + 1}>
      <colgroup>${columns.map((column) => html`<col style=${{ width: column.width || "auto" }} />`)}</colgroup>
      <thead><tr aria-rowindex="1">${columns.map((column) => html`<th scope="col" class=${column.number ? "right" : ""}
        aria-sort=${sort.name === column.id ? (sort.down ? "descending" : "ascending") : null}>
        ${column.value
          ? html`<button class="sort" onClick=${() => onSort(column.id)}>${column.title}<span aria-hidden="true">${sort.name === column.id ? (sort.down ? " ↓" : " ↑") : ""}</span></button>`
          : column.title}</th>`)}</tr></thead>
      <tbody>${spacer(first)}
        ${rows.slice(first, last).map((row, place) => html`<tr key=${row.key} aria-rowindex=${first + place + 2}
          class=${row.key === selected ? "selected" : ""} aria-current=${row.key === selected ? "true" : null}
          style=${{ height: `${height}px` }}
          onClick=${(event) => event.target.closest("a, button") || onOpen(row)}>
          ${columns.map((column) => html`<td class=${column.number ? "right" : ""}>${column.cell(row)}</td>`)}</tr>`)}
        ${spacer(rows.length - last)}</tbody>
    </table>
  </div>`;
}

// Rows in the order that the address asks for: ?sort=name or ?sort=-name. What has no value comes last.
function sorting(columns, usual) {
  const text = address().query.get("sort") || usual;
  const name = text.replace(/^-/, "");
  const column = columns.find((each) => each.id === name && each.value);
  return { name: column ? name : "", down: text.startsWith("-"), column };
}
function sorted(rows, { column, down }) {
  if (!column) return rows;
  const keyed = rows.map((row) => [column.value(row), row]);
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  const there = keyed.filter(([value]) => known(value)).sort(([a], [b]) => (down ? order(b, a) : order(a, b)));
  return [...there, ...keyed.filter(([value]) => !known(value))].map(([, row]) => row);
}
function sortBy(name, { name: current, down }) {
  set("sort", name !== current ? `-${name}` : down ? name : `-${name}`);
}

const shownReward = () => {
  const asked = address().query.get("reward");
  return REWARDS.includes(asked) ? asked : REWARDS[0];
};

const UNTOLD = "(not told)";

// What an episode can be filtered by: choices, and numbers between two bounds.
const CHOICES = {
  end: ["End", (episode) => episode.end],
  agent: ["Agent", (episode) => episode.agent || UNTOLD],
  set: ["Data set", (episode) => episode.set || UNTOLD],
  run: ["Run", (episode) => RUNS[episode.run]],
};
const NUMBERS = {
  f1: ["F1", (episode) => episode.scores.f1],
  reward: ["Reward", (episode) => episode.returns[shownReward()]],
  gain: ["Gain", (episode) => episode.gain],
  turns: ["Turns", (episode) => episode.turns],
};
const VALUES = Object.fromEntries(
  Object.entries(CHOICES).map(([name, [, value]]) => [name, [...new Set(EPISODES.map(value))].sort()]),
);
const SEARCHED = EPISODES.map((episode) =>
  [episode.asked.text, episode.asked.id, ...episode.asked.answers, episode.prediction || ""].join("\n").toLowerCase(),
);

function filtered() {
  const { query } = address();
  const words = (query.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const choices = Object.entries(CHOICES).filter(([name]) => query.get(name));
  const bounds = Object.entries(NUMBERS).filter(([name]) => query.get(`min-${name}`) || query.get(`max-${name}`));
  const within = (value, name) =>
    known(value) && value >= Number(query.get(`min-${name}`) || -Infinity) && value <= Number(query.get(`max-${name}`) || Infinity);
  return EPISODES.filter((episode) =>
    words.every((word) => SEARCHED[episode.index].includes(word)) &&
    choices.every(([name, [, value]]) => value(episode) === query.get(name)) &&
    bounds.every(([name, [, value]]) => within(value(episode), name)));
}

const EPISODE_COLUMNS = [
  { id: "question", title: "Question", value: (each) => each.asked.text, cell: (each) => html`
    <a class="title" href=${to(["episode", each.key])}>${each.asked.text}</a>
    <span class="sub">${attemptOf(each)} · ${each.prediction === null ? "no answer" : html`answers “${each.prediction}”`}${each.asked.protected && html` · <b>protected</b>`}</span>` },
  { id: "beliefs", title: "Belief", width: "6.2rem", value: (each) => each.beliefs[each.beliefs.length - 1], cell: (each) => html`<${Sparkline} episode=${each} />` },
  { id: "gain", title: "Gain", width: "10rem", number: true, value: (each) => each.gain, cell: (each) => html`<${Ink} value=${each.gain} scale=${1} />` },
  { id: "reward", title: "Reward", width: "5.2rem", number: true, value: (each) => each.returns[shownReward()], cell: (each) => signed(each.returns[shownReward()]) },
  { id: "f1", title: "F1", width: "3.6rem", number: true, value: (each) => each.scores.f1, cell: (each) => fixed(each.scores.f1) },
  { id: "turns", title: "Turns", width: "4.2rem", number: true, value: (each) => each.turns, cell: (each) => each.turns },
  { id: "end", title: "End", width: "8.2rem", value: (each) => each.end, cell: (each) => each.end },
  ...["agent", "set", "run"].filter((name) => VALUES[name].length > 1).map((name) => (
    { id: name, title: CHOICES[name][0], width: "8rem", value: CHOICES[name][1], cell: (each) => shorten(CHOICES[name][1](each), 40) })),
];

const ordered = () => sorted(filtered(), sorting(EPISODE_COLUMNS, ""));

function Filters({ count, of, what }) {
  const { query } = address();
  const bounded = Object.keys(NUMBERS).some((name) => query.get(`min-${name}`) || query.get(`max-${name}`));
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label class="search">Search <input id="search" type="search" value=${query.get("q") || ""} placeholder="question, answer or id"
      onInput=${(event) => set("q", event.target.value)} /></label>
    ${Object.entries(CHOICES).filter(([name]) => VALUES[name].length > 1).map(([name, [title]]) => html`<label>${title}
      <select id=${`choose-${name}`} value=${query.get(name) || ""} onChange=${(event) => set(name, event.target.value)}>
        <option value="">all</option>${VALUES[name].map((value) => html`<option value=${value}>${value}</option>`)}
      </select></label>`)}
    ${REWARDS.length > 1 && html`<label>Reward shown
      <select id="choose-reward" value=${shownReward()} onChange=${(event) => set("reward", event.target.value)}>${REWARDS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>`}
    <details class="bounds" open=${bounded}><summary>Numbers</summary><div>
      ${Object.entries(NUMBERS).map(([name, [title]]) => html`<fieldset><legend>${title}</legend>
        ${["min", "max"].map((end) => html`<input id=${`${end}-${name}`} type="number" step="any" aria-label=${`${title}, ${end === "min" ? "at least" : "at most"}`}
          placeholder=${end} value=${query.get(`${end}-${name}`) || ""} onInput=${(event) => set(`${end}-${name}`, event.target.value)} />`)}</fieldset>`)}
    </div></details>
    <p role="status">${count.toLocaleString("en")} of ${counted(of, what)}</p>
  </form>`;
}

function EpisodeList({ selected }) {
  const sort = sorting(EPISODE_COLUMNS, "");
  const rows = useMemo(ordered, [location.hash]);
  return html`<h1 class="hidden">Episodes</h1>
    <${Filters} count=${rows.length} of=${EPISODES.length} what="episode" />
    <${VirtualTable} label="Episodes" columns=${EPISODE_COLUMNS} rows=${rows} height=${50} selected=${selected} sort=${sort}
      onSort=${(name) => sortBy(name, sort)} onOpen=${(row) => go(["episode", row.key])} />`;
}

const QUESTION_COLUMNS = [
  { id: "question", title: "Question", width: "34%", value: (each) => each.asked.text, cell: (each) => html`
    <a class="title" href=${to(["attempts", each.key])}>${each.asked.text}</a>
    <span class="sub">${each.asked.answers.join(" / ")}${each.asked.protected && html` · <b>protected</b>`}</span>` },
  { id: "f1", title: "Mean F1", width: "6.2rem", number: true, value: (each) => mean(each.attempts.map((one) => one.scores.f1)), cell: (each) => fixed(mean(each.attempts.map((one) => one.scores.f1))) },
  { id: "reward", title: "Mean reward", width: "8rem", number: true, value: (each) => mean(each.attempts.map((one) => one.returns[shownReward()])), cell: (each) => signed(mean(each.attempts.map((one) => one.returns[shownReward()]))) },
  { id: "gain", title: "Mean gain", width: "7rem", number: true, value: (each) => mean(each.attempts.map((one) => one.gain)), cell: (each) => signed(mean(each.attempts.map((one) => one.gain))) },
  { id: "attempts", title: "Attempts", value: (each) => each.attempts.length, cell: (each) => html`<span class="sparks">${each.attempts.map((one) => html`
    <a href=${to(["episode", one.key])} title=${`${attemptOf(one)}, ${RUNS[one.run]}: F1 ${fixed(one.scores.f1)}, gain ${signed(one.gain)}`}
      aria-label=${`${attemptOf(one)}, F1 ${fixed(one.scores.f1)}, gain ${signed(one.gain)}`}><${Sparkline} episode=${one} width=${56} /></a>`)}</span>` },
];

function questionRows() {
  const rows = new Map();
  for (const episode of filtered()) {
    const { asked } = episode;
    if (!rows.has(asked.key)) rows.set(asked.key, { key: asked.key, asked, attempts: [] });
    rows.get(asked.key).attempts.push(episode);
  }
  for (const row of rows.values()) row.attempts.sort((one, other) => one.group - other.group || one.attempt - other.attempt);
  return sorted([...rows.values()], sorting(QUESTION_COLUMNS, ""));
}

function QuestionList({ selected }) {
  const sort = sorting(QUESTION_COLUMNS, "");
  const rows = useMemo(questionRows, [location.hash]);
  return html`<h1 class="hidden">Questions</h1>
    <${Filters} count=${rows.length} of=${QUESTIONS.length} what="question" />
    <${VirtualTable} label="Questions" columns=${QUESTION_COLUMNS} rows=${rows} height=${54} selected=${selected} sort=${sort}
      onSort=${(name) => sortBy(name, sort)} onOpen=${(row) => go(["attempts", row.key])} />`;
}
