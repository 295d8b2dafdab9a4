"""The environment as OpenEnv's command line serves it: ``openenv serve``, or ``python -m server.app``."""

import uvicorn

from igpo_gym.adapters.openenv import server

app = server(questions="world", scorer="nano")  # the arguments of SearchQAEnv


def main() -> None:
    """Serve on all interfaces, as a container does."""
    uvicorn.run(app, host="0.0.0.0", port=8000)


if __name__ == "__main__":
    main()
