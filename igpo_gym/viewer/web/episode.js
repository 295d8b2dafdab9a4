// One episode: the question, the belief curve and the turns.

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
      <p class="path"><a href=${to([])}>Episodes</a> <span class="note">${place >= 0 ? `${place + 1} of ${order.length}` : "not in the filtered list"}, ${attemptOf(episode)}</span>
        <span class="steps">${[[-1, "← previous", "k"], [1, "next →", "j"]].map(([step, title, key]) => near(step)
          ? html`<a class="button" href=${to(["episode", near(step).key])} title=${`key ${key}`}>${title}</a>`
          : html`<span class="button off" aria-disabled="true">${title}</span>`)}
        <button class="button" aria-pressed=${tokens} title="key t" onClick=${() => set("tokens", tokens ? "" : "1")}>Tokens</button></span></p>
    <//>
    <p class="verdict">${episode.prediction === null ? "No answer" : html`Answer “${episode.prediction}”`}
      ${known(episode.scores.f1) && html`<strong class=${right ? "good" : "bad"}>${right ? "✓ right" : episode.scores.f1 > 0 ? "≈ partly right" : "✗ wrong"}</strong>`}</p>
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
