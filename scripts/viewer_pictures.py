"""Draw the pictures of docs/viewer.md in a real browser, of episodes that the bundled model plays or scores.

Needs playwright and a Chromium. ``python scripts/viewer_pictures.py [FOLDER]`` writes into docs/figures.
What is played stands in FOLDER, if one is given, and is not played again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pictures import told

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.viewer.browser import browser, url  # noqa: E402

ASKED = "w32520009%2Fbridge-0"
EPISODE = f"1.{ASKED}.1"


def record(folder: Path) -> dict[str, Path]:
    """Write the recordings and make pages: a run under two rewards, two runs, attempts that branch."""
    commands = [
        "rollout --agent nano --group-size 4 --limit 12 --max-turns 5 --out warm.jsonl",
        "rollout --agent nano --group-size 4 --limit 12 --max-turns 5 --temperature 1.6 --out hot.jsonl",
        "rollout --agent nano --group-size 2 --limit 2 --max-turns 5 --branch belief:2 --out tree.jsonl",
        "relabel warm.jsonl --reward tips --out tips.jsonl",
        "view warm.jsonl tips.jsonl --out rewards.html",
        "view warm.jsonl hot.jsonl --out runs.html",
        "view tree.jsonl --out tree.html",
    ]
    for command in commands:
        if command.startswith("relabel") and (folder / "tips.jsonl").exists():
            continue
        subprocess.run(["igpo-gym", *command.split()], cwd=folder, check=True)
    return {name: folder / f"{name}.html" for name in ("rewards", "runs", "tree")}


def main(folder: Path) -> None:
    """Draw all pictures."""
    out = REPOSITORY / "docs" / "figures"
    pages = record(folder)
    with browser() as chrome:
        views = {
            "list": ("rewards", "#/?q=tell&sort=-gain", (1060, 600)),
            "episode": ("rewards", f"#/episode/{EPISODE}", (1060, 860)),
            "tokens": ("rewards", f"#/episode/{EPISODE}?tokens=1", (1060, 860)),
            "attempts": ("tree", f"#/attempts/{ASKED}", (1280, 700)),
            "rewards": ("rewards", f"#/rewards/{EPISODE}", (1280, 640)),
            "runs": ("runs", "#/runs", (1060, 600)),
        }
        for name, (page, address, (width, height)) in views.items():
            tab = chrome.new_page(viewport={"width": width, "height": height})
            tab.goto(url(pages[page], address))
            tab.locator("main *").first.wait_for()
            draw(tab, out / f"viewer-{name}.png")
        draw_play(chrome, out / "viewer-play.png")


def draw_play(chrome: Any, picture: Path) -> None:
    """Two turns of an episode that is played in the browser."""
    command = ["igpo-gym", "play", "--web", "--no-open", "--tools", "search + open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        told = next(line for line in server.stdout if "play at" in line)
        tab = chrome.new_page(viewport={"width": 1060, "height": 900})
        tab.goto(told.split()[2])
        for number, query in enumerate(("Ringia Chronicle", "Bumdor Derjor"), 1):
            tab.locator("#search-query").fill(query)
            tab.keyboard.press("Enter")
            tab.locator(f"#turn-{number}").wait_for()
        draw(tab, picture)
        server.terminate()


def draw(tab: Any, picture: Path) -> None:
    """Take a picture of a tab, and close it."""
    tab.screenshot(path=picture)
    tab.close()
    told(picture)


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else made))
