// The data, the address, and how numbers are written. Text of episodes is only ever put into text nodes.
const { html, render, useState, useEffect, useRef, useMemo } = htmPreact;

const DATA = JSON.parse(document.getElementById("summary").textContent);
const { runs: RUNS, questions: QUESTIONS, episodes: EPISODES, estimator: ESTIMATOR } = DATA;
const BY_KEY = new Map(EPISODES.map((episode) => [episode.key, episode]));
const REWARDS = [...new Set(EPISODES.flatMap((episode) => Object.keys(episode.returns)))];
const MIXED = EPISODES.filter((episode) => Object.keys(episode.returns).length > 1);

EPISODES.forEach((episode, index) => Object.assign(episode, { index, asked: QUESTIONS[episode.question] }));
QUESTIONS.forEach((question, index) => {
  question.attempts = EPISODES.filter((episode) => episode.question === index)
    .sort((one, other) => one.run - other.run || one.attempt - other.attempt);
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

const known = (value) => value !== null && value !== undefined;
const fixed = (value, digits = 2) => (known(value) ? value.toFixed(digits).replace("-", "−") : "–");
const signed = (value, digits = 3) => (known(value) ? (value > 0 ? "+" : "") + fixed(value, digits) : "–");
const counted = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const mean = (values) => {
  const all = values.filter(known);
  return all.length ? all.reduce((sum, value) => sum + value, 0) / all.length : null;
};
const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const largest = (values) => values.filter(known).reduce((most, value) => Math.max(most, Math.abs(value)), 0);

function action(turn) {
  const { kind, text, calls } = turn.action;
  return kind === "tools" ? calls.map(([tool, given]) => `${tool}: ${given}`).join("; ") : `${kind}: ${text}`;
}

// The gain of each turn in belief; null where the turn has none (an answer), or no scorer was at work.
const gains = (episode) =>
  Array.from({ length: episode.turns }, (_, place) => {
    const [before, after] = episode.beliefs.slice(place, place + 2);
    return known(after) ? after - before : null;
  });

// The address: #/view/name/turn?filters. All that is looked at stands in it, so that it can be shared.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
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
