"""Servers on loopback while a block runs: in a thread, and in a process of their own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import ThreadingHTTPServer
from typing import Any

import requests


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
def left_alone(url: str, path: str, body: bytes) -> Iterator[None]:
    """A request that is sent, and whose client is gone with the end of the block, without its answer."""
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body))
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as client:
        client.sendall(head + body)
        yield


def waits(url: str, count: int) -> None:
    """Return when so many requests wait at a server."""
    for _ in range(2000):
        if requests.get(f"{url}/health", timeout=60).json()["waiting"] == count:
            return
    raise AssertionError(f"there are never {count} requests that wait")


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
