import pytest

from igpo_gym import Answer, Episode, Question, register
from igpo_gym.data.parts import parts_of, share_of_parts
from igpo_gym.data.scores import Metric, resolve_metric, score, scores
from igpo_gym.episode import EndReason, Turn
from igpo_gym.errors import SpecError
from igpo_gym.rewards import make_term, resolve_reward
from igpo_gym.specs import names, unregister


def answered(text: str, *answers: str, parts: tuple[str, ...] = ()) -> Episode:
    episode = Episode(Question("q", "Which?", answers, parts=parts), ())
    episode.append(Turn(text, Answer(text)), EndReason.ANSWERED)
    return episode


def test_the_metrics_that_can_be_named() -> None:
    wanted = {"em", "f1", "cover_em", "em_squad1", "f1_squad1", "em_mlqa", "f1_mlqa", "em_strict", "igpo_f1"}
    assert wanted | {"igpo", "fanoutqa_loose"} == {*names("metric")}
    for name in wanted:
        metric = resolve_metric(name)
        assert metric.name == name
        assert metric.rule
        assert metric.source


def test_parameters_of_a_metric() -> None:
    spanish = resolve_metric("em_mlqa(language=es)")
    assert spanish.name == "em_mlqa(language=es)"
    assert (spanish("el río", ["río"]), resolve_metric("em_mlqa")("el río", ["río"])) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("bleu", "unknown metric 'bleu'"),
        ("em_mlqa(language=xx)", "unknown language 'xx'; choose one of: ar, de, en, es, hi, vi, zh"),
        ("em(language=en)", "no parameter 'language'"),
    ],
)
def test_what_is_no_metric(name: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        resolve_metric(name)


def test_rewards_take_any_metric() -> None:
    episode = answered("the tin tin drum", "tin drum")
    for spec, right in [("f1", 0.8), ("f1(metric=igpo)", 0.8), ("f1(metric=f1_mlqa(language=de))", 2 / 3)]:
        assert resolve_reward(spec).price(episode, 1) == {spec: pytest.approx(right)}
    names = [term.name for _, term in resolve_reward("igpo(metric=em_squad1)").terms]
    assert names == ["gain", "f1(metric=em_squad1)", "format-penalty"]
    assert make_term("f1", metric="igpo").outcome


def test_a_metric_of_one_s_own_in_a_reward() -> None:
    register("metric", "length", Metric("length", lambda said, gold: float(len(said or ""))))
    try:
        reward = resolve_reward("f1(metric=length)")
        assert reward.price(answered("four", "x"), 1) == {"f1(metric=length)": 4.0}
    finally:
        unregister("metric", "length")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1"])
def test_a_value_that_is_no_finite_number_is_told(value: object) -> None:
    metric = Metric("mine", lambda said, gold: value)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"the metric 'mine' gives .*no finite number.*question 'q'"):
        score(metric, answered("a secret", "a secret"))


def test_what_was_neutralized_is_compared_as_it_was() -> None:
    assert score("em", answered("p ‹ 0.05", "p < 0.05")) == 1.0


def test_an_answer_in_parts_has_its_own_score() -> None:
    assert parts_of({"depth": [6.0, 0.5], "open": True}) == ("depth", "6", "0.5", "open", "yes")
    parts = parts_of({"Danzig": 1_457_000, "Thorn": "6 October"})
    episode = answered(
        "Danzig has 1,457,000 and Elbing none", "Danzig: 1457000; Thorn: 6 October", parts=parts
    )
    assert scores(episode)["fanoutqa_loose"] == 0.5
    assert "fanoutqa_loose" not in scores(answered("a", "b"))
    assert score("fanoutqa_loose", answered("in Danzig", "Danzig")) == 1.0
    assert score("fanoutqa_loose", answered("in Danzig", "Gdańsk", "Danzig")) == 1.0, "the best name counts"
    assert score("fanoutqa_loose", answered("in Elbing", "Gdańsk", "Danzig")) == 0.0


@pytest.mark.parametrize(
    ("prediction", "part", "found"),
    [
        ("It cost $1.027 billion.", "$1.027 billion", True),
        ("about 8,848.86 m", "8848.86 m", True),
        ("a port", "porter", False),
        ("porter", "port", False),
        ("Beyonce\u0301", "Beyonc\u00e9", True),
        ("6 OCTOBER, 1959", "6 October 1959", True),
        ("no", "n", False),
    ],
)
def test_a_part_stands_in_a_prediction_as_whole_words(prediction: str, part: str, found: bool) -> None:
    assert share_of_parts(prediction, [part]) == found


def test_no_prediction_has_no_part() -> None:
    assert share_of_parts(None, ["a"]) == 0.0
    with pytest.raises(TypeError, match="found one string"):
        share_of_parts("a", "a")
