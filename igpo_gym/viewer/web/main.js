// The frame: which view the address asks for, keys, help and colors.

const HELP = [
  ["j, k", "next and previous episode, or row of a list"], ["Enter", "open the row"],
  ["← →", "previous and next turn of an episode"], ["/", "search"], ["t", "tokens of an episode"],
  ["a", "all attempts at the question"], ["r", "the episode under two rewards"], ["u, Esc", "back to the list"], ["?", "this help"],
];

const TABS = [
  ["", "Episodes", true], ["questions", "Questions", EPISODES.length > QUESTIONS.length],
  ["rewards", "Two rewards", MIXED.length > 0], ["runs", "Two runs", RUNS.length > 1],
].filter(([, , there]) => there);

const questionOf = (key) => QUESTIONS.find((question) => question.key === key);

function Missing({ what }) {
  return html`<article><h1>There is no ${what} here</h1><p>The address names nothing of this page. <a href="#/">All episodes</a></p></article>`;
}

function view({ parts: [name = "", key, turn] }, selected) {
  const episode = BY_KEY.get(key);
  if (name === "episode") {
    const number = turn === undefined ? null : Number(turn);
    return episode ? html`<${EpisodeView} episode=${episode} turn=${number} />` : html`<${Missing} what="such episode" />`;
  }
  if (name === "attempts") return questionOf(key) ? html`<${Attempts} question=${questionOf(key)} />` : html`<${Missing} what="such question" />`;
  if (name === "rewards" && key) return MIXED.includes(episode) ? html`<${TwoRewards} episode=${episode} />` : html`<${Missing} what="episode under two rewards" />`;
  if (name === "rewards" && MIXED.length) return html`<${TwoRewardsList} selected=${selected} />`;
  if (name === "runs" && RUNS.length > 1) return html`<${TwoRuns} selected=${selected} />`;
  if (name === "questions") return html`<${QuestionList} selected=${selected} />`;
  return name === "" ? html`<${EpisodeList} selected=${selected} />` : html`<${Missing} what="such view" />`;
}

// A view that cannot be drawn is told of, and does not end the page.
function Guarded({ onProblem, children }) {
  const [problem] = useErrorBoundary(onProblem);
  return problem ? null : children;
}

// What j and k go through where no list is shown: the keys of what the list would show.
function neighbors(name) {
  if (name === "attempts") return questionRows().map((row) => row.key);
  const mixed = (each) => name !== "rewards" || Object.keys(each.returns).length > 1;
  return ordered().filter(mixed).map((each) => each.key);
}

const isList = ({ parts: [name, key] }) => !["episode", "attempts"].includes(name) && !(name === "rewards" && key);

function Page() {
  const [place, setPlace] = useState(address());
  const [selected, setSelected] = useState(null);
  const [theme, setTheme] = useState("");
  const [problem, setProblem] = useState(null);
  const help = useRef(null);
  const name = place.parts[0] || "";
  const list = isList(place);
  useEffect(() => {
    const read = () => {
      setPlace(address());
      setProblem(null);
    };
    window.addEventListener("hashchange", read);
    return () => window.removeEventListener("hashchange", read);
  }, []);
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }, [theme]);
  useEffect(() => {
    if (place.parts[1]) setSelected(place.parts[1]);
    if (list || place.parts[2] !== undefined) return;
    window.scrollTo(0, 0);
    document.querySelector("h1[tabindex]")?.focus({ preventScroll: true });
  }, [place.parts[0], place.parts[1]]);
  useEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || help.current.open) return;
      if (event.target.matches("input, select, textarea")) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      if (act(event.key)) event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  });

  // Keys may come faster than the page is drawn, so the address and the latest choice are asked, not what is drawn.
  function act(key) {
    const place = address();
    const [name = ""] = place.parts;
    const list = isList(place);
    const episode = BY_KEY.get(place.parts[1]);
    if (key === "?") return help.current.showModal() || true;
    if (key === "/") {
      if (document.getElementById("search")) document.getElementById("search").focus();
      else go([]), setTimeout(() => document.getElementById("search")?.focus());
      return true;
    }
    if (key === "j" || key === "k") return step(place, key === "j" ? 1 : -1);
    if (key === "Enter" && list) {
      const row = document.querySelector("tr.selected a");
      if (!row || document.activeElement.matches("a, button, summary")) return false;
      return row.click() || true;
    }
    if (list) return false;
    if (key === "u" || key === "Escape") return go({ attempts: ["questions"], rewards: ["rewards"] }[name] || []) || true;
    if (!episode) return false;
    if (key === "a") return go(["attempts", episode.asked.key]) || true;
    if (key === "r" && Object.keys(episode.returns).length > 1) return go(["rewards", episode.key]) || true;
    if (name !== "episode") return false;
    if (key === "t") return set("tokens", place.query.get("tokens") ? "" : "1") || true;
    if (key === "ArrowRight" || key === "ArrowLeft") {
      const now = Number(place.parts[2]) || 0;
      const next = Math.min(Math.max(now + (key === "ArrowRight" ? 1 : -1), 0), episode.turns);
      return go(["episode", episode.key, String(next)], undefined, true) || true;
    }
    return false;
  }

  function step(place, by) {
    const [name = "", key] = place.parts;
    const list = isList(place);
    const keys = list ? listed.keys : neighbors(name);
    const after = (now) => keys[Math.min(Math.max(keys.indexOf(now) + by, 0), keys.length - 1)];
    if (list) setSelected((now) => after(now));
    else if (keys.length && after(key) !== key) go([name, after(key)], undefined, true);
    return true;
  }

  return html`<header class="bar-top">
      <nav aria-label="Views">${TABS.map(([tab, title]) => html`<a href=${to(tab ? [tab] : [])} aria-current=${name === tab ? "page" : null}>${title}</a>`)}</nav>
      <p class="runs">${RUNS.join(", ")}</p>
      <button class="button" onClick=${() => setTheme({ "": "dark", dark: "light", light: "" }[theme])}>Colors: ${theme || "auto"}</button>
      <button class="button" aria-label="Help and keys" onClick=${() => help.current.showModal()}>?</button>
    </header>
    <main key=${problem ? "problem" : "view"} class=${list ? "list" : ""}>${problem
      ? html`<${Missing} what=${`view that can be drawn (${problem.message})`} />`
      : html`<${Guarded} onProblem=${setProblem}>${view(place, selected)}<//>`}</main>
    <dialog ref=${help} aria-labelledby="help-title"><h2 id="help-title">Keys</h2>
      <table class="plain"><tbody>${HELP.map(([keys, what]) => html`<tr><th scope="row"><kbd>${keys}</kbd></th><td>${what}</td></tr>`)}</tbody></table>
      <p class="note">The address leads to what you see, turn and filters included: copy it to share the view. Ink to the right is a rise, hatched ink to the left a fall. A filled dot ends a right answer's curve, an open one any other.</p>
      <form method="dialog"><button class="button">Close</button></form></dialog>`;
}

history.scrollRestoration = "manual";
render(html`<${Page} />`, document.getElementById("page"));
