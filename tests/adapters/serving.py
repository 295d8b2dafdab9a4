"""Real servers on loopback: of uvicorn in a thread, and processes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """The URL of an app while it is served."""
    import uvicorn

    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        assert started.wait(30), "the server did not start"
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def process(command: Sequence[Any], ready: Callable[[str], bool], **how: Any) -> Iterator[list[str]]:
    """The lines of a process, from the one that says that it is ready to the end of the block."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **how}
    with subprocess.Popen([str(part) for part in command], **how) as running:
        assert running.stdout is not None
        lines: list[str] = []
        try:
            for line in running.stdout:
                lines.append(line)
                if ready(line):
                    break
            else:
                raise AssertionError("the process ended: " + "".join(lines[-20:]))
            threading.Thread(target=_read, args=(running.stdout, lines), daemon=True).start()
            yield lines
        finally:
            running.terminate()


def _read(output: Iterable[str], lines: list[str]) -> None:
    """Read on, for a full pipe would stop the process, until the pipe is closed."""
    with contextlib.suppress(ValueError):
        lines.extend(output)
