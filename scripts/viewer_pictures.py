"""Draw the pictures of docs/viewer.md: pages of episodes that the bundled model plays, in a real browser.

Needs playwright and a Chromium: ``python scripts/viewer_pictures.py [FOLDER]`` writes PNG files into
docs/figures, or into FOLDER.
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

EPISODE = "1.w32520009/bridge-0.1"
ASKED = EPISODE.split(".")[1]


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
        subprocess.run(["igpo-gym", *command.split()], cwd=folder, check=True)
    return folder / "rewards.html", folder / "runs.html"


def main(out: Path) -> None:
    """Draw all pictures into a folder."""
    with TemporaryDirectory() as made, browser() as chrome:
        rewards, runs = record(Path(made))
        views = {
            "list": (rewards, "#/?q=tell&sort=-gain"),
            "episode": (rewards, f"#/episode/{EPISODE.replace('/', '%2F')}"),
            "tokens": (rewards, f"#/episode/{EPISODE.replace('/', '%2F')}?tokens=1"),
            "attempts": (rewards, f"#/attempts/{ASKED.replace('/', '%2F')}"),
            "rewards": (rewards, f"#/rewards/{EPISODE.replace('/', '%2F')}"),
            "runs": (runs, "#/runs"),
        }
        for name, (page, address) in views.items():
            tab = chrome.new_page(viewport={"width": 1100, "height": 720})
            tab.goto(url(page, address))
            tab.locator("main *").first.wait_for()
            picture = out / f"viewer-{name}.png"
            tab.screenshot(path=picture)
            assert picture.stat().st_size < LARGEST, f"{picture} has {picture.stat().st_size} bytes"
            tab.close()
            print(picture, picture.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs" / "figures")
