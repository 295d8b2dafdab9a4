"""Draw the pictures of docs/viewer.md: pages of episodes that the bundled model plays, in a real browser.

Needs playwright and a Chromium. ``python scripts/viewer_pictures.py [FOLDER]`` writes into docs/figures.
What is played stands in FOLDER, if one is given, and is not played again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.viewer.browser import browser, url  # noqa: E402

LARGEST = 150_000
"""Bytes of a picture."""

ASKED = "w32520009%2Fbridge-0"
EPISODE = f"1.{ASKED}.1"


def record(folder: Path) -> tuple[Path, Path]:
    """Write the recordings, and make pages of them: of one run under two rewards, and of two runs."""
    commands = [
        "rollout --agent nano --group-size 4 --episodes 12 --max-turns 5 --out warm.jsonl",
        "rollout --agent nano --group-size 4 --episodes 12 --max-turns 5 --temperature 1.6 --out hot.jsonl",
        "relabel warm.jsonl --reward tips --out tips.jsonl",
        "view warm.jsonl tips.jsonl --out rewards.html",
        "view warm.jsonl hot.jsonl --out runs.html",
    ]
    for command in commands:
        if command.startswith("relabel") and (folder / "tips.jsonl").exists():
            continue
        subprocess.run(["igpo-gym", *command.split()], cwd=folder, check=True)
    return folder / "rewards.html", folder / "runs.html"


def main(folder: Path) -> None:
    """Draw all pictures."""
    out = REPOSITORY / "docs" / "figures"
    rewards, runs = record(folder)
    with browser() as chrome:
        views = {
            "list": (rewards, "#/?q=tell&sort=-gain", (1060, 600)),
            "episode": (rewards, f"#/episode/{EPISODE}", (1060, 860)),
            "tokens": (rewards, f"#/episode/{EPISODE}?tokens=1", (1060, 860)),
            "attempts": (rewards, f"#/attempts/{ASKED}", (1280, 700)),
            "rewards": (rewards, f"#/rewards/{EPISODE}", (1280, 640)),
            "runs": (runs, "#/runs", (1060, 600)),
        }
        for name, (page, address, (width, height)) in views.items():
            tab = chrome.new_page(viewport={"width": width, "height": height})
            tab.goto(url(page, address))
            tab.locator("main *").first.wait_for()
            picture = out / f"viewer-{name}.png"
            tab.screenshot(path=picture)
            assert picture.stat().st_size < LARGEST, f"{picture} has {picture.stat().st_size} bytes"
            tab.close()
            print(picture, picture.stat().st_size)


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else made))
