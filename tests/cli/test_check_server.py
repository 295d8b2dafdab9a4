from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from igpo_gym.cli import app
from tests.lm.tiny import make_model, make_tokenizer
from tests.scorers.servers import Engine
from tests.site import Raw, running, send


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def check(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", "server", *arguments])
    return result.exit_code, result.output


def test_a_server_of_the_same_model_is_good_and_one_of_another_is_not(folder: Path) -> None:
    for model, status in ((make_model(), 0), (make_model(initializer_range=0.2), 1)):
        with running(Engine(model, make_tokenizer(), "elsewhere", longest=400).vllm()) as site:
            code, told = check(f"{site.url}/v1#kind=vllm", "--model", str(folder), "--dtype", "float32")
        assert code == status
        assert "the same model here" in told
        assert ("WRONG" in told) == bool(status)


def test_a_page_that_is_no_model_server_is_told_as_such() -> None:
    def page(_: object) -> object:
        raise Raw(lambda handler: send(handler, 200, b"<html>a page of something else</html>"))

    for routes in ({"/v1/models": page}, {"/v1/models": lambda _: {"detail": "not mine"}}, {}):
        with running(routes) as site:
            code, told = check(site.url)
        assert code == 2
        problem = "It does not look like one: there is no list of models at "
        assert f"{problem}{site.url}/v1/models" in " ".join(told.split())


def test_what_is_no_server_is_refused_with_what_to_give() -> None:
    assert check("nano") == (2, "error 'nano' is no server; give its URL, such as http://127.0.0.1:8000\n")
    assert "secret" not in check("ftp://me:secret@host/v1")[1]
    code, told = check("http://127.0.0.1:8000", "--dtype", "float8")
    assert code == 2
    assert "Choose one of: bfloat16, float16, float32" in told
