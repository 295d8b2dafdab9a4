// The data of recorded episodes, and the address.
const DATA = JSON.parse(document.getElementById("summary").textContent);
const { runs: RUNS, questions: QUESTIONS, episodes: EPISODES, estimator: ESTIMATOR } = DATA;
const BY_KEY = new Map(EPISODES.map((episode) => [episode.key, episode]));
const REWARDS = [...new Set(EPISODES.flatMap((episode) => Object.keys(episode.returns)))];
const MIXED = EPISODES.filter((episode) => Object.keys(episode.returns).length > 1);

EPISODES.forEach((episode, index) => Object.assign(episode, { index, asked: QUESTIONS[episode.question] }));
QUESTIONS.forEach((question, index) => {
  question.attempts = EPISODES.filter((episode) => episode.question === index)
    .sort((one, other) => one.group - other.group || one.attempt - other.attempt);
  const named = QUESTIONS.slice(0, index).filter((other) => other.id === question.id).length;
  question.key = named ? `${question.id}~${named + 1}` : question.id;
});

// An episode's own data, taken apart when it is first looked at.
const taken = new Map();
function details(episode) {
  if (!taken.has(episode.index)) {
    taken.set(episode.index, JSON.parse(document.getElementById(`e${episode.index}`).textContent));
  }
  return taken.get(episode.index);
}

// The address: #/view/name/turn?filters. All that is looked at stands in it, so that it can be shared.
function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}
function to(parts, query = address().query) {
  const text = query.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text && `?${text}`}`;
}
function go(parts, query, replace = false) {
  const place = to(parts, query);
  if (replace) {
    history.replaceState(null, "", place);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = place;
}
function set(name, value) {
  const { parts, query } = address();
  if (value === "" || !known(value)) query.delete(name);
  else query.set(name, value);
  go(parts, query, true);
}
