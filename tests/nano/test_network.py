import torch

from nano.checkpoint import export, load_weights
from nano.muon import Muon, orthogonalise
from nano.network import Llama, Shape, initialize
from nano.tokenizer import build_tokenizer

SHAPE = Shape(width=32, layers=3, heads=2, feedforward=48)


def model():
    made = Llama(SHAPE)
    initialize(made, torch.Generator().manual_seed(1))
    return made


def test_a_checkpoint_is_a_plain_llama_for_transformers(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ours, tokenizer = model(), build_tokenizer(worlds=2)
    export(ours, tokenizer, tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    loaded = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "Question: Who is the mayor of Malman?\n<think>\n"
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<|bos|>", "<|eos|>", "<|pad|>")
    assert loaded.chat_template is None
    size = len(loaded)
    assert size == theirs.config.vocab_size < SHAPE.vocabulary
    ids = torch.randint(0, size, (2, 50), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = ours(ids, torch.arange(50)[None], torch.empty(2, 1, 0, 50))
        torch.testing.assert_close(ours.logits(hidden)[..., :size], theirs(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_run_can_begin_with_a_checkpoint(tmp_path):
    ours, tokenizer = model(), build_tokenizer(worlds=2)
    export(ours, tokenizer, tmp_path / "model")
    other = Llama(SHAPE)
    initialize(other, torch.Generator().manual_seed(2))
    before = other.embed_tokens.weight.detach().clone()
    load_weights(other, tmp_path / "model")
    size = tokenizer.get_vocab_size()
    torch.testing.assert_close(other.embed_tokens.weight[:size], ours.embed_tokens.weight[:size])
    torch.testing.assert_close(other.embed_tokens.weight[size:], before[size:])
    torch.testing.assert_close(other.norm.weight, ours.norm.weight)


def test_the_same_seed_gives_the_same_weights():
    first, again = model().state_dict(), model().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_attention_begins_as_matching():
    attention = model().layers[0].self_attn
    query, key = attention.q_proj.weight.flatten(), attention.k_proj.weight.flatten()
    assert torch.cosine_similarity(query, key, dim=0) > 0.5
    passed_on = attention.o_proj.weight @ attention.v_proj.weight
    torch.testing.assert_close(passed_on, 0.4 * torch.eye(32), atol=1e-5, rtol=0)


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrices = torch.randn(3, 40, 16, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.6
    assert values.max() < 1.4


def test_muon_descends():
    weight = torch.nn.Parameter(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    optimizer = Muon([weight])
    losses = []
    for _ in range(60):
        loss = (weight - torch.eye(8)).square().sum()
        weight.grad = None
        loss.backward()
        optimizer.step(0.05)
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
