"""Servers on loopback while a block runs: in a thread, and in a process of their own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import ThreadingHTTPServer
from typing import Any


@contextlib.contextmanager
def in_thread(app: Any, sock: socket.socket | None = None, **config: Any) -> Iterator[str]:
    """The root of an app's URLs while a thread serves it: at ``sock``, or at a free port of loopback."""
    import uvicorn  # not everywhere where tests run

    from igpo_gym.serving import bound

    with sock or bound("127.0.0.1", 0) as listener:
        listener.listen()  # from now on clients wait instead of being refused
        server = uvicorn.Server(uvicorn.Config(app, **{"log_level": "error", **config}))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=60)


@contextlib.contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[None]:
    """Let a server of the standard library answer, in a thread, while the block runs."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
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
