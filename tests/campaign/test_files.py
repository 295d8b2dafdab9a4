"""Files that are damaged at random: what is read is what was written, or the error says what is wrong."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.agents.rollouts.records import RolloutFile, read_rollouts, to_record
from igpo_gym.agents.training.checkpoint import read_checkpoint, write_checkpoint
from igpo_gym.data import resolve_questions
from igpo_gym.envs.engine import Engine
from igpo_gym.errors import DataError, SpecError
from igpo_gym.lm.loading import load_model
from igpo_gym.search.bm25 import BM25Index, folder
from igpo_gym.search.dense import DenseIndex, build_dense
from tests.agents.training.test_checkpoint import STATE
from tests.campaign.test_messages import Rounds
from tests.conftest import PASSAGES, play
from tests.lm.tiny import CHATML, make_model, make_tokenizer
from tests.search.bm25.test_folder import drawn
from tests.search.dense.conftest import save_encoder

pytestmark = pytest.mark.campaign


@dataclass(frozen=True)
class Kind:
    """Something in a folder, and how it is read."""

    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...] = (DataError,)
    checked: bool = True
    """Whether it has checksums, so that no damage passes for what was written."""


def words(place: Path) -> Any:
    index = BM25Index.load(place)
    return index.search(["w1", "w3 w70 w2", "t7"], 5), index.documents(["p3"]), index.passage(50)


def vectors(place: Path) -> Any:
    index = DenseIndex.load(place, device="cpu")
    return index.search(["novel"], 2), index.documents(["drum"])


def weights(place: Path) -> Any:
    model, tokenizer = load_model(place, "cpu")
    return model.config.hidden_size, len(tokenizer)


def recording(place: Path) -> Any:
    return [to_record(episode) for episode in read_rollouts(place / "rollouts.jsonl")]


def questions(place: Path) -> Any:
    return resolve_questions(str(place / "mine.jsonl")).questions


def write_model(place: Path) -> None:
    make_model().save_pretrained(place)
    make_tokenizer(CHATML).save_pretrained(place)


def write_dense(place: Path) -> None:
    build_dense(PASSAGES, place, str(save_encoder(place.with_name("encoder"))), device="cpu")


def write_questions(place: Path) -> None:
    lines = [f'{{"id": "{n}", "question": "Which {n}?", "answers": ["{n}", "x"]}}\n' for n in range(20)]
    (place / "mine.jsonl").write_text("".join(lines))


def checkpoint(place: Path) -> Any:
    state = read_checkpoint(place / "state.pt")
    return {name: weight.tolist() for name, weight in state["weights"].items()}, state["progress"]


def write_words(place: Path) -> None:
    BM25Index.build(drawn(120)).save(place)


def late(act: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``act`` where every index counts as a large one, whose blocks are checked as they are read."""

    def acted(place: Path) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(folder, "SMALL", 0)
            patch.setattr(folder, "BLOCK", 1 << 10)
            return act(place)

    return acted


KINDS = {
    "words": Kind(write_words, words),
    "words, checked late": Kind(late(write_words), late(words)),
    "vectors": Kind(write_dense, vectors, (DataError, SpecError)),
    "checkpoint": Kind(lambda place: write_checkpoint(place / "state.pt", STATE), checkpoint),
    "model": Kind(write_model, weights, (DataError, SpecError), checked=False),
    "questions": Kind(write_questions, questions, (DataError, SpecError), checked=False),
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file's content with one damage: turned bits, a cut, a hole, a part that is gone or twice there."""
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.choice((1, 8, 512)))
    middle = {
        "turned": lambda part: bytes([part[0] ^ 1 << draw.randrange(8)]) + part[1:],
        "hole": lambda part: bytes(len(part)),
        "noise": lambda part: draw.randbytes(len(part)),
        "gone": lambda part: b"",
        "twice": lambda part: part * 2,
    }
    what = draw.choice((*middle, "cut"))
    print(what, start, end)
    if what == "cut":
        return content[:start]
    return content[:start] + middle[what](content[start:end]) + content[end:]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, Path, Any]:
    made = KINDS[request.param]
    place = tmp_path_factory.mktemp("kinds") / request.param
    if request.param in ("checkpoint", "model", "questions"):
        place.mkdir()
    made.write(place)
    return made, place, made.read(place)


def test_damage_is_found(kind: tuple[Kind, Path, Any], rounds: Rounds, tmp_path: Path) -> None:
    made, whole, right = kind
    place = shutil.copytree(whole, tmp_path / "copy")
    files = sorted(file for file in place.rglob("*") if file.is_file() and file.stat().st_size)
    for draw in rounds():
        file = draw.choice(files)
        print(file.relative_to(place))
        content = file.read_bytes()
        spoiled = damaged(content, draw)
        file.write_bytes(spoiled)
        try:
            read = made.read(place)
        except made.errors as problem:
            assert "\n" not in str(problem)
        else:
            assert read == right or not made.checked
        file.write_bytes(content)
    assert made.read(place) == right


def test_what_is_read_of_a_damaged_recording_is_a_record(
    engine: Engine, rounds: Rounds, tmp_path: Path
) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, {"agent": "x"}) as file:
        for question in range(3):
            file.write(play(engine, question, "<search>Tin Drum</search>", "<answer>Odra</answer>"))
    content = path.read_bytes()
    for draw in rounds():
        path.write_bytes(damaged(content, draw))
        try:
            recording(tmp_path)
        except DataError as problem:
            assert "\n" not in str(problem)
