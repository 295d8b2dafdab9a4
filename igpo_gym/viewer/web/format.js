// How numbers and turns are written. Text of episodes is only ever put into text nodes.
const { html, render, useState, useEffect, useRef, useMemo, useErrorBoundary } = htmPreact;

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

// A part of an address, which a person may have edited.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Which attempt at its question an episode is: trainers number those of each step anew.
const attemptOf = ({ attempt, step }) => `attempt ${attempt + 1}${known(step) ? ` of step ${step}` : ""}`;

function action(turn) {
  const { kind, text, calls } = turn.action;
  return kind === "tools" ? calls.map(([tool, given]) => `${tool}: ${given}`).join("; ") : `${kind}: ${text}`;
}

// The gain of each turn in belief; null where the turn has none (an answer), the scorer could not read it, or none was
// at work.
const gains = (episode) =>
  Array.from({ length: episode.turns }, (_, place) => {
    const [before, after] = episode.beliefs.slice(place, place + 2);
    return known(after) && !episode.unread.includes(place + 1) ? after - before : null;
  });
