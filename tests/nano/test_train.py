import json
from dataclasses import replace

import pytest
import torch

from nano import train as training
from nano.lessons import LESSONS
from nano.network import Shape
from nano.rows import Part
from nano.train import NanoRun, NanoSettings, go_on, train

SHAPE = Shape(width=32, layers=1, heads=2, feedforward=48)
SHORT = NanoSettings(tokens=60e3, batch=2048, batches=1, warm_up=5, snapshots=2)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_a_run_learns_and_leaves_what_it_promises(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LOG_EVERY", 5)
    train(tmp_path / "whole", SHORT, SHAPE)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    assert log[-1]["recall"]["loss"] < log[0]["recall"]["loss"]
    assert [path.name for path in sorted((tmp_path / "whole" / "snapshots").iterdir())] == ["001", "002"]
    run = NanoRun(tmp_path / "whole", SHORT, SHAPE)
    assert run.resume()
    assert run.progress >= 1
    final, ours = weights(tmp_path / "whole" / "final"), run.model.state_dict()
    ours["embed_tokens.weight"] = ours["embed_tokens.weight"][: run.tokenizer.get_vocab_size()]
    assert all(torch.equal(final[f"model.{name}"], value) for name, value in ours.items())


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole, cut = (
        NanoRun(_folder(tmp_path / "whole"), SHORT, SHAPE),
        NanoRun(_folder(tmp_path / "cut"), SHORT, SHAPE),
    )
    _learn(whole, 4)
    _learn(cut, 2)
    cut.save()
    resumed = NanoRun(tmp_path / "cut", SHORT, SHAPE)
    assert resumed.resume()
    _learn(resumed, 2)
    expected = whole.model.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.model.state_dict().items())


def _folder(path):
    path.mkdir()
    return path


def _learn(run, chunks):
    for steps in run.chunks():
        for step in steps:
            run.learn(step)
        chunks -= 1
        if not chunks:
            return


def test_a_lesson_begins_with_rows_of_its_own(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        training, "lesson_rows", lambda lesson, seed, chunk, encode: made.append((lesson.name, chunk)) or []
    )
    monkeypatch.setattr(training, "steps", lambda rows, *_: made[-1])
    run = NanoRun(_folder(tmp_path / "a"), SHORT, SHAPE)
    chunks = run.chunks()
    first = next(chunks)
    run.lesson = 1
    assert (first, next(chunks)) == ((LESSONS[0].name, 0), (LESSONS[1].name, 1))
    chunks.close()


def test_what_the_next_line_of_the_log_counts_is_kept(tmp_path):
    run = NanoRun(_folder(tmp_path / "a"), SHORT, SHAPE)
    run.sums[Part.ACT] = [1.5, 2.0, 3.0]
    run.save()
    resumed = NanoRun(tmp_path / "a", SHORT, SHAPE)
    assert resumed.resume()
    assert resumed.sums == run.sums


@pytest.mark.slow
def test_other_settings_are_refused(tmp_path):
    NanoRun(_folder(tmp_path / "a"), SHORT, SHAPE).save()
    assert NanoRun(tmp_path / "a", replace(SHORT, tokens=1e6), SHAPE).resume()
    with pytest.raises(ValueError, match="made with other settings"):
        NanoRun(tmp_path / "a", replace(SHORT, seed=5), SHAPE).resume()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    settings = NanoSettings(tokens=20e3, warm_up=5, snapshots=1)
    train(tmp_path / "alone", settings, SHAPE)
    train(tmp_path / "together", replace(settings, processes=2), SHAPE)
    one, two = (weights(tmp_path / name / "final") for name in ("alone", "together"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-3, rtol=0)


def test_a_lesson_is_over_when_it_is_learned_or_has_lasted_long_enough(tmp_path):
    run = NanoRun(_folder(tmp_path / "a"), SHORT, SHAPE)
    part, goal = LESSONS[0].passed
    run.sums[part] = [0.0, goal * 100, 100]
    go_on(run)
    assert run.lesson == 0
    run.step = 7
    run.sums[part] = [0.0, goal * 100 + 1, 100]
    go_on(run)
    assert (run.lesson, run.begun) == (1, 7)
    patient = next(number for number, lesson in enumerate(LESSONS) if lesson.patience < 10_000)
    run.lesson, run.step = patient, 7 + LESSONS[patient].patience - 1
    run.sums = {each: [0.0, 0.0, 0.0] for each in Part}
    go_on(run)
    assert run.lesson == patient
    run.step += 1
    go_on(run)
    assert run.lesson == patient + 1
    run.lesson = len(LESSONS) - 1
    run.sums = {each: [0.0, 100.0, 100.0] for each in Part}
    go_on(run)
    assert run.lesson == len(LESSONS) - 1
