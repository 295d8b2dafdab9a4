"""Serve the environment with OpenEnv's server, or play an episode against one.

pip install -e '.[openenv]'
python examples/openenv_server.py serve --port 8000
python examples/openenv_server.py play http://localhost:8000
"""

from __future__ import annotations

import argparse

from igpo_gym.adapters.openenv import SearchQAAction, SearchQAClient, server
from igpo_gym.episode import Answer
from igpo_gym.protocols import TAGS
from igpo_gym.tools import search_call


def serve(questions: str, port: int) -> None:
    """Serve until interrupted."""
    import uvicorn

    uvicorn.run(server(questions=questions), host="127.0.0.1", port=port)


def play(url: str) -> None:
    """Two searches and an answer."""
    with SearchQAClient(base_url=url).sync() as env:
        question = env.reset(seed=0).observation.text.rpartition("Question: ")[2].strip()
        print(question)
        for act in (search_call(question), search_call(question.split()[-1]), Answer("I give up")):
            result = env.step(SearchQAAction(message=TAGS.write(act)))
            belief = result.observation.info["belief"]
            print(f"reward {result.reward:+.3f}  done {result.done}  belief {belief:.3f}")


def main() -> None:
    """Serve or play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--questions", default="world")
    serving.add_argument("--port", type=int, default=8000)
    commands.add_parser("play").add_argument("url")
    options = parser.parse_args()
    if options.command == "serve":
        serve(options.questions, options.port)
    else:
        play(options.url)


if __name__ == "__main__":
    main()
