"""``igpo-gym play``: an episode in the terminal, or episodes in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from igpo_gym.cli.common import (
    MaxTokens,
    Seed,
    Temperature,
    TopP,
    assemble,
    console,
    make_policy,
    named_files,
    plainly,
    tell_view,
)
from igpo_gym.cli.options import configured
from igpo_gym.cli.recording import NOT_OF_AN_EPISODE
from igpo_gym.config import EnvConfig, shown
from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from igpo_gym.episode import Episode
    from igpo_gym.protocols import TextProtocol


@configured(EnvConfig, without=("group_size",))
def play(
    config: EnvConfig,
    agent: Annotated[
        str | None,
        typer.Option(help="Let another play: [b]nano[/b], a model, a server, or a scripted agent."),
    ] = None,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Record the episode in this JSONL file; one that is there is replaced."),
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Play in a browser, on a page of this machine.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the page of --web is; 0 takes a free port.")
    ] = 0,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Whether --web opens the page in a browser.")
    ] = True,
) -> None:
    """Play an episode in the terminal or in a browser, or watch one.

    Type a query to search (where there is no search: what the first of the tools takes), [b]/answer TEXT[/b]
    to answer, [b]/quit[/b] to leave, or a whole message of the protocol.

    Examples:

      igpo-gym play

      igpo-gym play --agent expert --seed 3

      igpo-gym play --agent nano --temperature 0

      igpo-gym play --agent nano --out episode.jsonl

      igpo-gym play --web
    """
    if not web and (port or not open_browser):
        raise SpecError("--port and --no-open are of the page of --web")
    if web:
        from igpo_gym.play.server import serve_page  # tells what is missing before anything is loaded
    from igpo_gym.agents.policies.bounds import played_by
    from igpo_gym.agents.rollouts.records import write_episodes
    from igpo_gym.data.scores import score
    from igpo_gym.envs.questions import QuestionStream
    from igpo_gym.envs.render import moment
    from igpo_gym.lm.policy import Sampling, messages_of
    from igpo_gym.play.episodes import Episodes
    from igpo_gym.storage import check_writable

    if out is not None:
        check_writable(out, *named_files(config, agent))
    question_set, engine = assemble(played_by(agent, config))
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens, seed=seed)
    policy = make_policy(agent, question_set, engine, sampling) if agent else None
    stream = QuestionStream(question_set.questions, seed, order=config.order)
    kept = {name: value for name, value in shown(config).items() if name not in NOT_OF_AN_EPISODE}

    def record(ended: Sequence[Episode]) -> None:
        if out is not None:
            write_episodes(out, ended, {"agent": agent or "a person", **kept}, engine.reward)

    if web:
        episodes = Episodes(engine, stream, policy, record)
        serve_page(episodes, port, agent or "", lambda url: _announced(url, open_browser))
        if out is not None and episodes.ended:
            tell_view(out)
        return
    (episode,) = engine.begin([stream[0]])
    engine.start([episode])
    console.print(moment(episode, 0))
    while not episode.done:
        message = messages_of(policy, [episode])[0] if policy else _typed(engine.protocol)
        if message is None:
            return
        engine.settle(engine.play([episode], [message]))
        console.print(moment(episode, len(episode.turns)))
    gold = " or ".join(episode.question.answers)
    console.print(f"{episode.end}: F1 {score('f1', episode):.2f}; gold answer: {gold}", markup=False)
    record([episode])
    if out is not None:
        tell_view(out)


def _announced(url: str, open_browser: bool) -> None:
    """Say where the page is, and open it, without waiting for the browser."""
    import webbrowser
    from threading import Thread

    plainly(f"play at {url} (Ctrl-C ends)")
    if open_browser:
        Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _typed(protocol: TextProtocol) -> str | None:
    """A message for what the person types, or None to leave. What is wrong is told, and asked anew."""
    from igpo_gym.play.episodes import written

    tools = {spec.name: spec.first for spec in protocol.tools}
    tool = "search" if "search" in tools else next(iter(tools), "")
    prompt = (
        f"[bold]{tool}[/bold] (or /answer TEXT, /quit)> "
        if tool
        else "[bold]/answer[/bold] TEXT (or /quit)> "
    )
    while True:
        try:
            line = console.input(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            console.print()  # the line of the prompt is still open
            return None
        if line == "/quit":
            return None
        command, _, text = line.partition(" ")
        if line in ("", "/answer"):
            continue  # Enter alone is no message, nor is an answer without a text
        action: dict[str, Any] = {"tool": tool, "arguments": {tools.get(tool): line}}
        if command == "/answer":
            action = {"answer": text}
        elif line.startswith("<"):
            action = {"message": line}
        try:
            return written(protocol, action)
        except ValueError as problem:
            console.print(str(problem), markup=False)
