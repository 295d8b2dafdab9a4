"""Sampling with a cache against plain forward passes and against transformers' own generation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, PreTrainedModel

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Episode, Message, ToolCalls
from igpo_gym.errors import SamplingError, SpecError
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import CausalReader
from igpo_gym.protocols import TAGS, TOOL_CALL
from igpo_gym.rewards import PRESETS
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from tests.conftest import PASSAGES, QUESTIONS
from tests.lm.test_templates import CLOSED, OPENED
from tests.lm.tiny import CHATML, make_model, make_tokenizer, request
from tests.scorers.test_local import FAMILIES, WINDOWED

GREEDY = Sampling(temperature=0, max_tokens=12)
VOCABULARY = len(make_tokenizer())
INDEX = BM25Index.build(PASSAGES)
BUDGETS = {
    "unlimited": {},
    "no cache": {"cache_bytes": 0},
    "little cache": {"cache_bytes": 60_000},
    "short rows": {"row_tokens": 7},
}


def make_engine(**settings: object) -> Engine:
    return replace(Engine(TAGS, (Search(INDEX, 2),), PRESETS["outcome-f1"], None, Rules(3)), **settings)


def make_policy(
    model: PreTrainedModel | CausalReader | None = None,
    chat_template: str | None = None,
    sampling: Sampling = GREEDY,
    **options: int,
) -> LanguageModelPolicy:
    return LanguageModelPolicy(
        make_model() if model is None else model, make_tokenizer(chat_template), TAGS, sampling, **options
    )


def play(engine: Engine, policy: LanguageModelPolicy, questions: Sequence = QUESTIONS) -> list[Episode]:
    return sorted(collect(engine, policy, questions, 3), key=lambda e: (e.question.id, e.attempt))


@torch.no_grad()
def naive_log_probs(model: PreTrainedModel, context: Sequence[int], ids: Sequence[int]) -> list[float]:
    """One plain forward pass in the model's own precision, the sum in double."""
    tokens = torch.tensor([[*context, *ids]])
    logits = model(input_ids=tokens, use_cache=False).logits[0, len(context) - 1 : -1].double()
    return logits.log_softmax(-1)[torch.arange(len(ids)), list(ids)].tolist()


@torch.no_grad()
def naive_greedy(
    model: PreTrainedModel, context: Sequence[int], count: int, vocabulary: int = VOCABULARY
) -> list[int]:
    """One plain forward pass per token, of those that the tokenizer has."""
    ids: list[int] = []
    for _ in range(count):
        tokens = torch.tensor([[*context, *ids]])
        ids.append(int(model(input_ids=tokens, use_cache=False).logits[0, -1, :vocabulary].argmax()))
    return ids


def assert_as_a_plain_pass(
    policy: LanguageModelPolicy, model: PreTrainedModel, episodes: Sequence[Episode]
) -> None:
    """Every message has the log-probabilities, and if greedy the ids, of plain passes over its transcript."""
    for episode in episodes:
        for place, segment in enumerate(episode.segments):
            if segment.author == "environment":
                continue
            assert segment.ids is not None
            assert segment.log_probs is not None
            context = policy.framing.ids(episode.segments[:place])
            expected = naive_log_probs(model, context, segment.ids)
            assert segment.log_probs == pytest.approx(expected, abs=1e-4)
            if policy.sampling.temperature == 0:
                greedy = naive_greedy(model, context, len(segment.ids), policy._vocabulary)
                assert list(segment.ids) == greedy


@pytest.mark.parametrize("family", WINDOWED)
def test_messages_are_those_of_a_plain_forward_pass_beyond_a_sliding_window(family: str) -> None:
    model = make_model(family, **WINDOWED[family])
    policy = make_policy(model, sampling=Sampling(max_tokens=6))
    episodes = play(make_engine(rules=Rules(2)), policy, QUESTIONS[:3])
    assert_as_a_plain_pass(policy, model, episodes)


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_messages_are_those_of_a_plain_forward_pass_in_every_family(family: str, temperature: float) -> None:
    model = make_model(family, **FAMILIES[family])
    policy = make_policy(model, sampling=Sampling(temperature=temperature, max_tokens=6))
    episodes = play(make_engine(rules=Rules(2)), policy, QUESTIONS[:3])
    assert_as_a_plain_pass(policy, model, episodes)


@pytest.mark.parametrize("template", [None, CHATML])
@pytest.mark.parametrize("budget", BUDGETS)
def test_messages_do_not_depend_on_the_cache(budget: str, template: str | None) -> None:
    model = make_model()
    policy = make_policy(CausalReader(model, **BUDGETS[budget]), template, Sampling(max_tokens=9))
    episodes = play(make_engine(), policy)
    assert_as_a_plain_pass(policy, model, episodes)
    assert policy.reader.size <= policy.reader.cache_bytes


@pytest.mark.parametrize("protocol", [TAGS, TOOL_CALL])
def test_greedy_messages_are_those_of_generate(protocol: object) -> None:
    model, tokenizer = make_model(), make_tokenizer(CHATML)
    policy = LanguageModelPolicy(model, tokenizer, protocol, GREEDY)
    episodes = make_engine(protocol=protocol).begin(QUESTIONS)
    for episode, message in zip(episodes, policy.act(episodes), strict=True):
        context = torch.tensor([policy.framing.ids(episode.segments)])
        out = model.generate(context, max_new_tokens=12, do_sample=False, attention_mask=context != -1)
        generated = out[0, context.shape[1] :].tolist()
        assert list(message.ids) == generated[: len(message.ids)]
        assert len(message.ids) == 12 or generated[len(message.ids)] in (1, 3)


def test_a_turn_reads_only_what_the_environment_replied() -> None:
    policy = make_policy(sampling=Sampling(max_tokens=9))
    episodes = play(make_engine(), policy, QUESTIONS[:3])
    transcripts = sum(len(policy.framing.ids(episode.context(2))) for episode in episodes)
    sampled = sum(len(segment.ids or ()) for episode in episodes for segment in episode.segments[:4])
    shared = len(policy.framing.text_ids(TAGS.user(TAGS).partition("{")[0]))
    # The last token of a context is read as the first step of sampling, as is every sampled token.
    assert policy.stats.tokens_read <= transcripts - sampled
    assert policy.stats.tokens_read >= transcripts - sampled - 3 * (shared + 10)


def test_a_group_reads_its_prompt_once() -> None:
    policy = make_policy(sampling=Sampling(max_tokens=4))
    episodes = make_engine().begin(QUESTIONS[:1] * 5, range(5))
    messages = policy.act(episodes)
    assert policy.stats.tokens_read == len(policy.framing.ids(episodes[0].segments)) - 1
    assert len(set(messages)) == 5


class Counting(LlamaForCausalLM):
    """Keeps how many tokens every forward pass reads."""

    def forward(self, input_ids=None, logits_to_keep=0, **options):  # type: ignore[no-untyped-def]
        self.config.passes.append(input_ids.numel())
        return super().forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **options)


def test_a_complete_message_takes_no_part_in_a_pass() -> None:
    config = make_model().config
    config.passes = []
    torch.manual_seed(0)
    policy = make_policy(Counting(config).eval(), sampling=Sampling(max_tokens=40, seed=3))
    episodes = make_engine().begin(QUESTIONS * 3, [attempt for attempt in range(3) for _ in QUESTIONS])
    policy._ends = frozenset(range(0, 400, 12))
    policy.reader.view.config.passes.clear()
    messages = policy.act(episodes)
    decoding = policy.reader.view.config.passes[1:]
    drawn = [len(message.ids) for message in messages]
    assert len(set(drawn)) > 3
    assert decoding == [sum(count > step for count in drawn) for step in range(max(drawn))]


@settings(max_examples=10)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6, unique=True),
    st.sampled_from([{}, {"batch_bytes": 0}, {"batch_bytes": 200_000}]),
)
def test_a_message_does_not_depend_on_its_neighbors(
    chosen: list[tuple[int, int]], options: dict[str, int]
) -> None:
    sampling = Sampling(max_tokens=8, seed=5)
    policy, alone = make_policy(sampling=sampling, **options), make_policy(sampling=sampling)
    engine = make_engine()
    episodes = engine.begin([QUESTIONS[place] for place, _ in chosen], [attempt for _, attempt in chosen])
    together = policy.act(episodes)
    assert [message.ids for message in together] == [alone.act([e])[0].ids for e in episodes]
    assert len({(e.question.id, message.ids) for e, message in zip(episodes, together, strict=True)}) > (
        len(chosen) // 2
    )


def test_the_seed_the_attempt_and_the_turn_decide() -> None:
    policy = make_policy(sampling=Sampling(max_tokens=8))
    engine = make_engine()
    (first,), (second,) = engine.begin(QUESTIONS[:1]), engine.begin(QUESTIONS[:1], [1])
    drawn = [*policy.act([first]), *policy.act([second])]
    policy.sampling = replace(policy.sampling, seed=1)
    drawn += policy.act([first])
    assert len(set(drawn)) == 3
    policy.sampling = replace(policy.sampling, seed=0)
    assert policy.act([first]) == drawn[:1]


class Fixed(LlamaForCausalLM):
    """Writes the tokens of ``script`` one after another, counted from position ``start``."""

    def forward(self, position_ids=None, logits_to_keep=0, **options):  # type: ignore[no-untyped-def]
        out = super().forward(position_ids=position_ids, logits_to_keep=logits_to_keep, **options)
        script = getattr(self.config, "script", ())
        if script and out.logits.shape[1]:
            step = int(position_ids[0, -1]) + 1 - self.config.start
            out.logits[:] = -100.0
            out.logits[0, -1, script[min(step, len(script) - 1)]] = 100.0
        return out


def scripted_message(ids: Sequence[int], chat_template: str | None = None, **settings: int) -> Message:
    model = Fixed(make_model().config).eval()
    policy = make_policy(model, chat_template, Sampling(**{"max_tokens": 60, **settings}))
    (episode,) = make_engine().begin(QUESTIONS[:1])
    config = policy.reader.view.config
    config.script, config.start = list(ids), len(policy.framing.ids(episode.segments))
    return policy.act([episode])[0]


def test_a_message_ends_with_the_closing_tag_of_an_action() -> None:
    policy = make_policy()
    for text in ("hm <search>a river</search>", "<think>1</think><answer>x > y</answer>"):
        ids = policy.framing.text_ids(text)
        message = scripted_message([*ids, *policy.framing.text_ids(" and more")])
        assert (message.text, message.ids) == (text, ids)
        assert message.vocabulary == policy.framing.vocabulary
        assert message.log_probs == pytest.approx([0.0] * len(ids), abs=1e-6)


IN_THOUGHT = "use <search>q</search>, then</think><search>real</search>"


@pytest.mark.parametrize(
    ("template", "text", "kept"),
    [
        (OPENED, IN_THOUGHT, IN_THOUGHT),
        (CHATML, IN_THOUGHT, "use <search>q</search>"),
        (CHATML, f"<think>{IN_THOUGHT}", f"<think>{IN_THOUGHT}"),
        (CLOSED, IN_THOUGHT, "use <search>q</search>"),
    ],
)
def test_a_tag_within_a_thought_ends_nothing(template: str, text: str, kept: str) -> None:
    """Whether the message or the template has opened the thought: what stops and what parses agree."""
    ids = make_policy().framing.text_ids(text + " more")
    message = scripted_message(ids, template)
    assert message.text == kept
    action = TAGS.parse(message.text)
    assert isinstance(action, ToolCalls)
    assert action.calls[0].arguments["query"] == ("real" if kept.endswith("real</search>") else "q")


def test_what_the_last_token_spells_after_the_tag_is_not_in_the_text() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["r>\n<"])
    model = Fixed(make_model(vocab_size=401).config).eval()
    policy = LanguageModelPolicy(model, tokenizer, TAGS, Sampling())
    (episode,) = make_engine().begin(QUESTIONS[:1])
    ids = (*policy.framing.text_ids("<answer>x</answe"), 398)
    config = policy.reader.view.config
    config.script, config.start = list(ids), len(policy.framing.ids(episode.segments))
    (message,) = policy.act([episode])
    assert (message.text, message.ids) == ("<answer>x</answer>", ids)


@pytest.mark.parametrize(("end", "template"), [(1, None), (1, CHATML), (3, CHATML)])
def test_an_end_of_text_or_of_turn_is_the_last_id_and_no_text(end: int, template: str | None) -> None:
    ids = make_policy().framing.text_ids("I do not know")
    message = scripted_message([*ids, end, *ids], template)
    assert (message.text, message.ids, message.cut_off) == ("I do not know", (*ids, end), False)
    empty = scripted_message([end], template)
    assert (empty.text, empty.ids, empty.cut_off) == ("", (end,), False)


def test_a_message_is_cut_off_after_max_tokens() -> None:
    ids = make_policy().framing.text_ids("a long message that goes on and on")
    message = scripted_message(ids, max_tokens=5)
    assert (message.ids, message.cut_off) == (ids[:5], True)
    assert "".join(message.tokens) == message.text


def test_a_transcript_at_the_models_end_gets_what_room_there_is() -> None:
    length = len(make_policy().framing.ids(make_engine().begin(QUESTIONS[:1])[0].segments))
    for longest in (length - 1, length, length + 3):
        policy = make_policy(make_model(max_position_embeddings=longest))
        (message,) = policy.act(make_engine().begin(QUESTIONS[:1]))
        assert len(message.ids) == max(0, longest - length)


def test_ids_that_the_tokenizer_lacks_are_never_drawn() -> None:
    model = make_model(vocab_size=1000)
    policy = make_policy(model, sampling=Sampling(max_tokens=30))
    (message,) = policy.act(make_engine().begin(QUESTIONS[:1]))
    assert max(message.ids) < 400


def test_new_weights_are_noticed() -> None:
    model = make_model()
    policy = make_policy(model)
    engine = make_engine()
    episodes = engine.begin(QUESTIONS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(2):
        engine.settle(engine.play(episodes, policy.act(episodes)))
        model(input_ids=torch.arange(9)[None], labels=torch.arange(9)[None]).loss.backward()
        optimizer.step()
    messages = policy.act(episodes)
    for episode, message in zip(episodes, messages, strict=True):
        context = policy.framing.ids(episode.segments)
        assert list(message.ids) == naive_greedy(model, context, len(message.ids))


def test_a_scorer_and_a_policy_share_what_they_read() -> None:
    model, tokenizer = make_model(), make_tokenizer()
    scorer = TransformersScorer(model, tokenizer)
    policy = LanguageModelPolicy(scorer.reader, tokenizer, TAGS, Sampling(max_tokens=9))
    engine = make_engine(reward=PRESETS["igpo"], scorer=scorer)
    episodes = play(engine, policy)
    assert_as_a_plain_pass(policy, model, episodes)
    # The scorer has read each prompt and each reply already.
    assert policy.stats.tokens_read == 0
    fresh = TransformersScorer(make_model(), tokenizer)
    alone = play(make_engine(reward=PRESETS["igpo"], scorer=fresh), make_policy(sampling=policy.sampling))
    for episode, other in zip(episodes, alone, strict=True):
        log_probs, expected = ([belief.log_prob for belief in e.beliefs] for e in (episode, other))
        assert log_probs == pytest.approx(expected, abs=1e-4)


def test_a_failure_leaves_no_trace_in_the_cache() -> None:
    model = make_model()
    policy = make_policy(model)
    episodes = make_engine().begin(QUESTIONS)
    expected = policy.act(episodes)
    policy.reader.clear()
    ends, policy._ends = policy._ends, None
    with pytest.raises(TypeError):
        policy.act(episodes)
    policy._ends = ends
    assert policy.reader.size == 0
    assert policy.act(episodes) == expected


def test_a_policy_that_could_not_be_made_leaves_no_trace_in_the_cache_that_it_was_to_share() -> None:
    """What fails amid a pass may be memory, or whoever waits for it."""
    scorer, asked = TransformersScorer(make_model(), make_tokenizer()), [request("Who?", [1])]
    expected = scorer.score(asked)
    scorer.clear()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    hook = scorer.reader.view.get_submodule("model.layers.1").register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        LanguageModelPolicy(scorer.reader, make_tokenizer())
    hook.remove()
    assert scorer.reader.size == 0
    assert scorer.score(asked) == expected


@pytest.mark.parametrize("temperature", [0, 1])
def test_numbers_that_are_not_finite_are_refused_and_not_remembered(temperature: float) -> None:
    model = make_model()
    policy = make_policy(model, sampling=Sampling(temperature=temperature, max_tokens=4))
    episodes = make_engine().begin(QUESTIONS[:2])
    expected = policy.act(episodes)
    weight = model.model.layers[1].mlp.up_proj.weight
    good = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(math.nan)
    with pytest.raises(SamplingError, match="not a finite number"):
        policy.act(episodes)
    with torch.no_grad():
        weight.copy_(good)
    assert policy.act(episodes) == expected


class Misplaced(LlamaForCausalLM):
    """Takes every row for one text from the beginning."""

    def forward(self, position_ids=None, logits_to_keep=0, **options):  # type: ignore[no-untyped-def]
        return super().forward(logits_to_keep=logits_to_keep, **options)


def test_a_model_whose_numbers_differ_is_refused() -> None:
    with pytest.raises(SpecError, match="Misplaced cannot be a policy: with a prefix cache it gives"):
        make_policy(Misplaced(make_model().config).eval())


def test_a_model_that_cannot_be_driven_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"Gemma2ForCausalLM cannot be driven: .*soft-capped"):
        make_policy(make_model("gemma2", head_dim=8))


def test_a_model_without_a_folder_has_no_files() -> None:
    model = make_model("llama")
    assert model.config.name_or_path == ""
    assert LanguageModelPolicy(model, make_tokenizer()).facts()["weights"] == ""


@pytest.mark.parametrize(
    "wrong",
    [
        *({"temperature": -1}, {"temperature": 1e-38}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}),
        {"max_tokens": 0},
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="at least"):
        Sampling(**wrong)


@pytest.mark.slow
def test_a_real_model_samples_as_generate_does(smollm2: Path) -> None:
    policy = LanguageModelPolicy.load(smollm2, TAGS, replace(GREEDY, max_tokens=8), device="cpu")
    episodes = play(make_engine(rules=Rules(2)), policy, QUESTIONS[:2])
    assert_as_a_plain_pass(policy, policy.reader.view, episodes)
