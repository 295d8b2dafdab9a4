"""Adapters and wrappers: what is scored is what the model itself computes at the moment."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.episode import Episode, Question
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import TAGS
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.pushed import load_like
from tests.lm.tiny import make_model, make_tokenizer, naive_belief, request

peft = pytest.importorskip("peft")
helpers = pytest.importorskip("peft.helpers")

REQUEST = request("Who wrote it?", turns=(1, 2), answers=("Grass", "Günter Grass"))
LORA: dict[str, Any] = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}


def adapted(**settings: Any) -> Any:
    """A model with LoRA adapters of random weights on all its linear layers, as its trainer holds it."""
    torch.manual_seed(1)
    config = peft.LoraConfig(task_type="CAUSAL_LM", **{**LORA, **settings})
    return peft.get_peft_model(make_model("llama"), config)


def own(model: Any, scorer: TransformersScorer) -> tuple[float, ...]:
    """The beliefs by the model's own forward pass, whatever it is wrapped in."""
    training = model.training
    try:
        return naive_belief(model.eval(), scorer.framing, REQUEST)
    finally:
        model.train(training)


def check(scorer: TransformersScorer, model: Any) -> tuple[float, ...]:
    """The scorer's beliefs, which must be the model's own."""
    (belief,) = scorer.score([REQUEST])
    assert belief.log_probs == pytest.approx(own(model, scorer), abs=1e-4)
    return belief.log_probs


def different(*beliefs: tuple[float, ...]) -> bool:
    """Whether all of them differ by much more than rounding."""
    return all(
        max(abs(mine - theirs) for mine, theirs in zip(one, other, strict=True)) > 0.05
        for place, one in enumerate(beliefs)
        for other in beliefs[:place]
    )


@pytest.mark.parametrize("given", ["wrapper", "base"])
def test_adapters_switched_on_off_merged_and_weighted_change_the_belief_at_once(given: str) -> None:
    model = adapted()
    scorer = TransformersScorer(model if given == "wrapper" else model.get_base_model(), make_tokenizer())
    on = check(scorer, model)
    with model.disable_adapter():
        off = check(scorer, model)
    assert different(on, off)
    assert check(scorer, model) == pytest.approx(on, abs=1e-5)
    model.merge_adapter()
    assert check(scorer, model) == pytest.approx(on, abs=1e-4)
    with model.disable_adapter():  # PEFT takes them out of the weights, and leaves them out
        assert check(scorer, model) == pytest.approx(off, abs=1e-4)
    assert check(scorer, model) == pytest.approx(on, abs=1e-4)
    model.merge_adapter()
    model.unmerge_adapter()
    assert check(scorer, model) == pytest.approx(on, abs=1e-4)
    with helpers.rescale_adapter_scale(model, 0.3):
        assert different(on, off, check(scorer, model))
    assert check(scorer, model) == pytest.approx(on, abs=1e-4)


def test_several_adapters_are_told_apart() -> None:
    model = adapted()
    scorer = TransformersScorer(model, make_tokenizer())
    first = check(scorer, model)
    model.add_adapter("other", peft.LoraConfig(task_type="CAUSAL_LM", **{**LORA, "lora_alpha": 32}))
    assert check(scorer, model) == pytest.approx(first, abs=1e-5)  # it is there, but not on
    model.set_adapter("other")
    second = check(scorer, model)
    model.base_model.set_adapter(["default", "other"])
    both = check(scorer, model)
    model.merge_adapter(["other"])  # one of the two
    merged = check(scorer, model)
    model.unmerge_adapter()
    model.add_weighted_adapter(["default", "other"], [0.5, -0.5], "mixed", combination_type="linear")
    model.set_adapter("mixed")
    mixed = check(scorer, model)
    assert different(first, second, both, mixed)
    assert merged == pytest.approx(second, abs=1e-4)
    model.delete_adapter("mixed")
    model.set_adapter("default")
    assert check(scorer, model) == pytest.approx(first, abs=1e-4)
    plain = model.merge_and_unload()
    assert check(scorer, plain) == pytest.approx(first, abs=1e-4)


def test_adapters_that_learn_or_are_put_in_later_are_noticed() -> None:
    base = make_model("llama")
    scorer = TransformersScorer(base, make_tokenizer())
    before = check(scorer, base)
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **LORA))
    put_in = check(scorer, model)
    model.train()
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1.0)
    model(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
    optimizer.step()
    assert different(before, put_in, check(scorer, model))
    assert model.training


KINDS = {
    "dora": peft.LoraConfig(use_dora=True, **LORA),
    "whole modules": peft.LoraConfig(modules_to_save=["lm_head", "norm"], **LORA),
    "embeddings": peft.LoraConfig(**{**LORA, "target_modules": ["q_proj", "embed_tokens"]}),
    "tokens": peft.LoraConfig(trainable_token_indices=[1, 2, 50], **LORA),
    "ia3": peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False
    ),
    "vera": peft.VeraConfig(target_modules=["q_proj", "o_proj"], r=4, init_weights=False),
    "oft": peft.OFTConfig(target_modules="all-linear", oft_block_size=4, r=0, init_weights=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_is_scored_merged_and_copied(kind: str) -> None:
    torch.manual_seed(1)
    model = peft.get_peft_model(make_model("llama"), copy.deepcopy(KINDS[kind]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                weight.add_(0.3 * torch.randn_like(weight))
    scorer, frozen = (TransformersScorer(each, make_tokenizer()) for each in (model, make_model("llama")))
    on = check(scorer, model)
    frozen.copy_weights(model)
    assert frozen.score([REQUEST])[0].log_probs == pytest.approx(on, abs=1e-4)
    with model.disable_adapter():
        off = check(scorer, model)
        frozen.copy_weights(model)
    assert frozen.score([REQUEST])[0].log_probs == pytest.approx(off, abs=1e-4)
    model.merge_adapter()
    assert check(scorer, model) == pytest.approx(on, abs=1e-4)
    frozen.copy_weights(model)
    assert frozen.score([REQUEST])[0].log_probs == pytest.approx(on, abs=1e-4)
    assert different(on, off)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), "PROMPT_TUNING puts virtual"),
        (peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), "PREFIX_TUNING puts virtual"),
        (peft.LoraConfig(alora_invocation_tokens=[5], task_type="CAUSAL_LM", **LORA), "aLoRA"),
        (peft.PolyConfig(target_modules="all-linear", r=4, n_tasks=2, task_type="CAUSAL_LM"), "POLY"),
    ],
)
def test_adapters_that_act_outside_of_the_layers_are_refused_by_name(config: Any, why: str) -> None:
    model = peft.get_peft_model(make_model("llama"), config)
    with pytest.raises(SpecError, match=f"^PeftModelForCausalLM cannot be driven: .*{why}"):
        TransformersScorer(model, make_tokenizer())


def test_a_policy_plays_with_the_adapters_that_are_on() -> None:
    model = adapted()
    policy = LanguageModelPolicy(model, make_tokenizer(), sampling=Sampling(temperature=0, max_tokens=8))
    question = Question("q", "Who wrote it?", ("Grass",))
    episode = Episode(question, TAGS.prompt(question))

    @torch.no_grad()
    def likeliest() -> list[int]:
        ids = list(policy.framing.ids(episode.segments))
        start = len(ids)
        while len(ids) < start + 8:
            ids.append(int(model.eval()(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        return ids[start:]

    on = likeliest()
    assert list(policy.act([episode])[0].ids) == on
    with model.disable_adapter():
        off = likeliest()
        assert list(policy.act([episode])[0].ids) == off
    assert on != off
    assert list(policy.act([episode])[0].ids) == on


def test_a_frozen_copy_with_adapters_takes_over_all_weights_or_none() -> None:
    model = adapted()
    frozen = TransformersScorer(copy.deepcopy(model), make_tokenizer())
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    frozen.copy_weights(model)
    now = check(frozen, model)
    model.merge_adapter()
    with pytest.raises(SpecError, match="differ in their adapters"):
        frozen.copy_weights(model)
    assert frozen.score([REQUEST])[0].log_probs == now


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def changed(model: Any) -> Any:
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    return model


compiled = partial(torch.compile, backend="eager")
"""What is seen through is the wrapper; a compiler would take half a minute."""


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "wrap",
    [DistributedDataParallel, compiled, lambda model: DistributedDataParallel(compiled(model))],
    ids=["ddp", "compile", "both"],
)
@pytest.mark.parametrize("adapters", [False, True])
def test_wrappers_are_seen_through(wrap: Any, adapters: bool) -> None:
    model = adapted() if adapters else make_model("llama")
    wrapped = wrap(model)
    scorer, frozen = (TransformersScorer(each, make_tokenizer()) for each in (wrapped, make_model("llama")))
    before = check(scorer, model)
    changed(wrapped)
    after = check(scorer, model)
    assert different(before, after)
    frozen.copy_weights(wrapped)
    assert frozen.score([REQUEST])[0].log_probs == pytest.approx(after, abs=1e-4)


@pytest.mark.usefixtures("alone")
def test_sharded_weights_are_refused_by_name_and_copied() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = make_model("llama")
    scorer, frozen = (TransformersScorer(each, make_tokenizer()) for each in (model, make_model("llama")))
    expected = own(changed(model), frozen)
    mesh = init_device_mesh("cpu", (1,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for call in (lambda: TransformersScorer(model, make_tokenizer()), lambda: scorer.score([REQUEST])):
        with pytest.raises(SpecError, match=r"FSDPLlama.*sharded over processes.*copy_weights"):
            call()
    frozen.copy_weights(model)
    assert frozen.score([REQUEST])[0].log_probs == pytest.approx(expected, abs=1e-4)


def test_what_accelerate_does_to_a_model_stays_with_the_trainer() -> None:
    accelerate = pytest.importorskip("accelerate")
    model = make_model("llama")
    expected = own(model, TransformersScorer(model, make_tokenizer()))
    prepared = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare(model)
    scorer = TransformersScorer(prepared, make_tokenizer())
    assert scorer.score([REQUEST])[0].log_probs == pytest.approx(expected, abs=1e-5)  # not in bfloat16


def test_weights_on_no_device_are_refused() -> None:
    with pytest.raises(SpecError, match=r"model\.embed_tokens\.weight is offloaded"):
        TransformersScorer(make_model("llama").to("meta"), make_tokenizer())


def test_weights_whose_numbers_another_process_holds_are_refused() -> None:
    model = make_model("llama")
    model.lm_head.weight.data = torch.empty(0)  # as ZeRO-3 leaves them
    with pytest.raises(SpecError, match=r"lm_head\.weight.*sharded over processes"):
        TransformersScorer(model, make_tokenizer())


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(SpecError, match="Linear cannot be driven: it neither is nor wraps"):
        TransformersScorer(torch.nn.Linear(3, 3), make_tokenizer())


def tied() -> PreTrainedModel:
    return make_model("llama", tie_word_embeddings=True)


@pytest.mark.parametrize(
    ("frozen", "source", "why"),
    [
        (make_model, lambda: make_model(num_hidden_layers=2), r"LlamaForC.* has model.layers.2.*has not"),
        (make_model, lambda: make_model(num_hidden_layers=4), r"LlamaForC.* has model.layers.3.*has not"),
        (make_model, lambda: make_model(intermediate_size=24), r"down_proj.weight has the shape \(32, 24\)"),
        (tied, make_model, "model.embed_tokens.weight and lm_head.weight are one weight here, and two"),
    ],
)
def test_weights_of_another_model_are_refused_by_name_and_nothing_is_copied(
    frozen: Any, source: Any, why: str
) -> None:
    scorer = TransformersScorer(frozen(), make_tokenizer())
    before = scorer.score([REQUEST])
    with pytest.raises(SpecError, match=why):
        scorer.copy_weights(changed(source()))
    assert scorer.score([REQUEST]) == before


def test_buffers_that_a_checkpoint_holds_are_copied_and_checked(tmp_path: Path) -> None:
    """As the bias of a router, which a trainer moves and no optimizer."""
    from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

    config = Glm4MoeConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
    )
    torch.manual_seed(0)
    frozen = Glm4MoeForCausalLM(config).eval()
    model = copy.deepcopy(frozen)
    with torch.no_grad():
        model.model.layers[1].mlp.gate.e_score_correction_bias.add_(torch.randn(8))
    scorer = TransformersScorer(frozen, make_tokenizer())
    before = scorer.score([REQUEST])
    model.save_pretrained(tmp_path)
    scorer.copy_weights(load_like(frozen, tmp_path))
    assert scorer.score([REQUEST]) == TransformersScorer(model, make_tokenizer()).score([REQUEST]) != before
    with torch.no_grad():
        model.model.layers[1].mlp.gate.e_score_correction_bias.fill_(torch.nan)
    model.save_pretrained(tmp_path)
    with pytest.raises(SpecError, match="e_score_correction_bias that are not finite"):
        load_like(frozen, tmp_path)


def test_tied_weights_are_copied() -> None:
    model = changed(tied())
    scorer = TransformersScorer(tied(), make_tokenizer())
    scorer.copy_weights(model)
    assert check(scorer, model)


TWO = """
import os, sys
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tests.lm.test_wrappers import REQUEST, check, own
from tests.lm.tiny import make_model, make_tokenizer
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.pushed import load_like

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
model = DistributedDataParallel(make_model("llama"))
scorer, frozen = (TransformersScorer(each, make_tokenizer()) for each in (model, make_model("llama")))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
for step in range(2):
    for _ in range(rank + 1):  # as often as this process likes: the others do not wait for it
        check(scorer, model.module)
    ids = torch.arange(6)[None] + 10 * rank
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
print("ddp", *check(scorer, model.module))
frozen.copy_weights(model)
print("copied", *frozen.score([REQUEST])[0].log_probs)

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
sharded = make_model("llama")
with torch.no_grad():
    for weight in sharded.parameters():
        weight.mul_(1.1)
expected = own(sharded, frozen)
fully_shard(sharded, mesh=init_device_mesh("cpu", (2,)))
frozen.copy_weights(sharded)
(belief,) = frozen.score([REQUEST])
print("gathered", max(abs(a - b) for a, b in zip(belief.log_probs, expected)) < 1e-4)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_score_what_they_train_together(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(rank), str(tmp_path / "group")],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in (0, 1)
    ]
    told = [process.communicate(timeout=300)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    first, second = ([line.split() for line in lines] for lines in told)
    assert [line[0] for line in first] == ["ddp", "copied", "gathered"]
    assert first == second  # both have trained on what either of them saw
    assert [float(each) for each in first[0][1:]] == pytest.approx(
        [float(each) for each in first[1][1:]], abs=1e-4
    )
    assert first[2][1] == "True"
