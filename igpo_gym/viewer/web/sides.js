// Side by side: the attempts at a question, an episode under two rewards, two runs.

function Attempts({ question }) {
  const columns = tree(question.attempts);
  const reward = shownReward();
  const most = largest(columns.map((each) => each.turns));
  const scale = largest(columns.flatMap(gains));
  const worth = columns.map((each) => details(each).rewards[reward]);
  const steepest = largest(worth.flatMap((each) => (each && each.advantages) || []));
  const row = (title, cell) => html`<tr><th scope="row">${title}</th>${columns.map((each, place) => html`<td>${cell(each, place)}</td>`)}</tr>`;
  return html`<article class="broad">
    <${QuestionHead} asked=${question}><p class="path"><a href=${to(["questions"])}>Questions</a> <span class="note">${counted(columns.length, "attempt")}</span></p><//>
    <${Tree} attempts=${columns} />
    <div class="sideways" tabindex="0" role="region" aria-label="Attempts side by side"><table class="sides">
      <thead><tr><td></td>${columns.map((each) => html`<th scope="col"><a href=${to(["episode", each.key])}>${attemptOf(each)}</a>${each.branch && html`<span class="sub">↳ ${leaving(each)}</span>`}${RUNS.length > 1 && html`<span class="sub">${RUNS[each.run]}</span>`}</th>`)}</tr></thead>
      <tbody>
        ${row("belief", (each) => html`<${Sparkline} episode=${each} width=${180} height=${64} />`)}
        ${row("answer", (each) => html`${each.prediction === null ? "none" : `“${shorten(each.prediction, 80)}”`} <span class="sub">${each.end}</span>`)}
        ${row("F1", (each) => fixed(each.scores.f1))}
        ${row(`reward (${reward || "none"})`, (each) => signed(each.returns[reward]))}
        ${Array.from({ length: most }, (_, place) => row(`turn ${place + 1}`, (each, column) => {
          const turn = details(each).turns[place];
          if (!turn) return "";
          if (each.branch && place < each.branch[1]) return html`<span class="shared">┊ turn ${place + 1} of attempt ${each.branch[0] + 1}</span>`;
          const advantage = worth[column] && worth[column].advantages && worth[column].advantages[place];
          return html`<a class="act" href=${to(["episode", each.key, String(place + 1)])}>${shorten(action(turn), 90)}</a>
            ${turn.passages.some(([, gold]) => gold) && html`<span class="gold-title" title="found a gold passage">★</span>`}
            <dl class="belief-now"><dt>belief</dt><dd><${Bar} value=${each.beliefs[place + 1]} /></dd>
              <dt>gain</dt><dd><${Ink} value=${gains(each)[place]} scale=${scale} /></dd>
              <dt>adv.</dt><dd><${Ink} value=${advantage} scale=${steepest} digits=${2} /></dd></dl>`;
        }))}
      </tbody></table></div>
    <p class="note">Advantages: ${ESTIMATOR}. ★: the turn found a gold passage.</p>
  </article>`;
}

function Choice({ id, title, value, options, onChange }) {
  return html`<label>${title} <select id=${id} value=${String(value)} onChange=${(event) => onChange(event.target.value)}>${options.map(([key, name]) => html`<option value=${String(key)}>${name}</option>`)}</select></label>`;
}

// Two names of a list, as the address has them in ?first= and ?second=.
function two(names) {
  const { query } = address();
  const pick = (name, other) => {
    const asked = names.findIndex((each) => String(each) === query.get(name));
    return asked >= 0 ? names[asked] : names[other];
  };
  return [pick("first", 0), pick("second", 1)];
}
const TwoChoices = ({ names, titles }) => {
  const pair = two(names);
  return ["first", "second"].map((which, place) => html`<${Choice} id=${which} title=${which} value=${pair[place]} options=${names.map((name, each) => [name, titles[each]])} onChange=${(value) => set(which, value)} />`);
};

function TwoRewards({ episode }) {
  const own = details(episode);
  const names = Object.keys(own.rewards);
  const pair = two(names);
  const paid = (name, place) => Object.values(own.rewards[name].terms[place] || {}).reduce((sum, value) => sum + (value || 0), 0);
  const places = own.turns.map((_, place) => place);
  const scale = pair.map((name) => largest(places.map((place) => paid(name, place))));
  const worth = pair.map((name) => own.rewards[name].advantages);
  const steepest = largest(worth.flatMap((values) => values || []));
  const order = useMemo(() => ordered().filter((each) => Object.keys(each.returns).length > 1), [location.hash]);
  return html`<article class="broad">
    <${QuestionHead} asked=${episode.asked}><p class="path"><a href=${to(["rewards"])}>Two rewards</a> <span class="note">${order.indexOf(episode) + 1} of ${order.length}, <a href=${to(["episode", episode.key])}>${attemptOf(episode)}</a></span></p><//>
    <form class="filters" onSubmit=${(event) => event.preventDefault()}><${TwoChoices} names=${names} titles=${names} /></form>
    <div class="sideways" tabindex="0" role="region" aria-label="Turns under two rewards"><table class="sides rewards"><thead>
      <tr><td colspan="2"></td>${pair.map((name) => html`<th scope="colgroup" colspan="3">${name}</th>`)}<th scope="col" rowspan="2">advantage, second − first</th></tr>
      <tr><th scope="col">turn</th><th scope="col">belief</th>${pair.map(() => html`<th scope="col">terms</th><th scope="col">reward</th><th scope="col">advantage</th>`)}</tr></thead>
      <tbody>${places.map((place) => html`<tr>
        <th scope="row"><a class="act" href=${to(["episode", episode.key, String(place + 1)])}>${place + 1} · ${shorten(action(own.turns[place]), 60)}</a></th>
        <td><${Bar} value=${episode.beliefs[place + 1]} /></td>
        ${pair.map((name, side) => html`<td class="terms">${Object.entries(own.rewards[name].terms[place] || {}).filter(([, value]) => value).map(([term, value]) => html`<div><span>${term}</span> ${signed(value)}</div>`)}</td>
          <td><${Ink} value=${paid(name, place)} scale=${scale[side]} /></td>
          <td><${Ink} value=${worth[side] && worth[side][place]} scale=${steepest} digits=${2} /></td>`)}
        <td><${Ink} value=${worth[0] && worth[1] ? worth[1][place] - worth[0][place] : null} scale=${steepest} digits=${2} /></td></tr>`)}
        <tr class="sum"><th scope="row">sum</th><td></td>${pair.map((name) => html`<td></td><td>${signed(episode.returns[name])}</td><td></td>`)}<td></td></tr>
      </tbody></table></div>
    <p class="note">Advantages: ${ESTIMATOR}, under each reward within the attempts at this question.</p>
  </article>`;
}

const sparks = (episodes) => html`<span class="sparks">${episodes.map((one) => html`<a href=${to(["episode", one.key])} aria-label=${`${attemptOf(one)}, F1 ${fixed(one.scores.f1)}`}><${Sparkline} episode=${one} width=${34} /></a>`)}</span>`;

// Rows of two values and their difference, the largest in size first.
function Differences({ label, heading, rows, titles, left, right, link, controls, what, selected }) {
  const scale = largest(rows.map((row) => row.difference));
  const columns = [
    { id: "question", title: "Question", value: (row) => row.asked.text, cell: (row) => html`<a class="title" href=${link(row)}>${row.asked.text}</a><span class="sub">${row.sub}</span>` },
    { id: "first", title: titles[0], width: "22%", value: (row) => row.first, cell: left },
    { id: "second", title: titles[1], width: "22%", value: (row) => row.second, cell: right },
    { id: "size", title: "Difference", width: "10rem", number: true, value: (row) => Math.abs(row.difference), cell: (row) => html`<${Ink} value=${row.difference} scale=${scale} />` },
  ];
  const sort = sorting(columns, "-size");
  const differences = rows.map((row) => row.difference);
  const wins = differences.filter((value) => value > 0).length;
  const losses = differences.filter((value) => value < 0).length;
  return html`<h1 class="hidden">${heading}</h1>
    <form class="filters" onSubmit=${(event) => event.preventDefault()}>${controls}
      <p role="status">${counted(rows.length, what)}: mean difference ${signed(mean(differences))}; higher in the second ${wins}, lower ${losses}, equal ${rows.length - wins - losses}</p></form>
    <${VirtualTable} label=${label} columns=${columns} rows=${sorted(rows, sort)} height=${54} selected=${selected} sort=${sort} onSort=${(name) => sortBy(name, sort)} onOpen=${(row) => { location.hash = link(row); }} />`;
}

const MEASURES = {
  f1: ["F1", (each) => each.scores.f1], em: ["exact match", (each) => each.scores.em],
  reward: ["reward", (each) => each.returns[shownReward()]], gain: ["gain in belief", (each) => each.gain],
  belief: ["last belief", (each) => each.beliefs[each.beliefs.length - 1]], turns: ["turns", (each) => each.turns],
};

function TwoRuns({ selected }) {
  const numbers = RUNS.map((_, place) => place);
  const pair = two(numbers);
  const asked = address().query.get("measure");
  const name = Object.hasOwn(MEASURES, asked) ? asked : "f1";
  const rows = QUESTIONS.map((question) => {
    const [ours, theirs] = pair.map((run) => question.attempts.filter((each) => each.run === run));
    const [first, second] = [ours, theirs].map((all) => mean(all.map(MEASURES[name][1])));
    return { key: question.key, asked: question, sub: question.answers.join(" / "), ours, theirs, first, second, difference: second - first };
  }).filter((row) => known(row.first) && known(row.second));
  return html`<${Differences} label="Questions of both runs" heading="Two runs" rows=${rows} titles=${pair.map((run) => RUNS[run])} what="common question" selected=${selected}
    left=${(row) => html`<span class="number">${fixed(row.first)}</span>${sparks(row.ours)}`} right=${(row) => html`<span class="number">${fixed(row.second)}</span>${sparks(row.theirs)}`}
    link=${(row) => to(["attempts", row.key])}
    controls=${html`<${TwoChoices} names=${numbers} titles=${RUNS} /><${Choice} id="measure" title="compare" value=${name} options=${Object.entries(MEASURES).map(([key, [title]]) => [key, title])} onChange=${(value) => set("measure", value)} />`} />`;
}

function TwoRewardsList({ selected }) {
  const pair = two(REWARDS);
  const rows = ordered().filter((each) => pair.every((name) => known(each.returns[name]))).map((each) => {
    const [first, second] = pair.map((name) => each.returns[name]);
    return { key: each.key, asked: each.asked, episode: each, sub: `${attemptOf(each)}, ${RUNS[each.run]}`, first, second, difference: second - first };
  });
  return html`<${Differences} label="Episodes under two rewards" heading="Two rewards" rows=${rows} titles=${pair} what="episode" selected=${selected}
    left=${(row) => html`<span class="number">${signed(row.first)}</span>${sparks([row.episode])}`} right=${(row) => html`<span class="number">${signed(row.second)}</span>`}
    link=${(row) => to(["rewards", row.key])} controls=${html`<${TwoChoices} names=${REWARDS} titles=${REWARDS} />`} />`;
}
