"""Each self-test passes a model without fault and finds the one that is broken on purpose."""

import dataclasses

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from primase import dna
from primase.checks import check, check_model
from primase.checks.subject import BASES, WINDOW_BASES, corpus_windows
from primase.corpus.prepare import prepare
from primase.errors import InputError
from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings, Recipe
from primase.results import Checks
from primase.scoring import LoadedModel
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import kmer_tokenizer
from tests.models import tiny_model, uniform_model

DENSE = ["future", "padding", "mates", "case", "reload", "tokenizer", "strands"]
ROUTERS = {
    "dead": ("mixtral-1m", {}),
    "two experts a token": ("mixtral-1m", {"num_experts_per_tok": 2}),
    "balanced": ("mixtral-1m", {"output_router_logits": True}),
    "not renormalised": ("qwen3-moe-105m", {"moe_intermediate_size": 16, "num_experts": 8}),
    "renormalised": (
        "qwen3-moe-105m",
        {"moe_intermediate_size": 16, "num_experts": 8, "norm_topk_prob": True, "output_router_logits": False},
    ),
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}


def windows(count: int = 6, bases: int = 70, letters: bytes = b"ACGT") -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.choice(np.frombuffer(letters, np.uint8), bases) for _ in range(count)]


def mixture(name: str) -> LoadedModel:
    preset, settings = ROUTERS[name]
    model_settings = ModelSettings(preset=preset, settings=SMALL | settings)
    tokenizer = kmer_tokenizer(3)
    model = build_model(model_settings, configuration(model_settings, tokenizer), seed=0).eval()
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), 64)


def results(loaded: LoadedModel, sequences: list[np.ndarray] | None = None) -> dict:
    return {c.name: c for c in check_model(loaded, sequences or windows(), folder=None, name="model").checks}


def failed(loaded: LoadedModel, sequences: list[np.ndarray] | None = None) -> list[str]:
    return [name for name, result in results(loaded, sequences).items() if not result.passed]


def fresh(preset: str = "qwen3-small", k: int = 3) -> LoadedModel:
    """Uneven enough that a mistake shows, even enough that both strands cost about the same."""
    loaded = tiny_model(preset, k)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.div_(10)
    return loaded


def letter_tokenizer(letters: str, words: str = ".") -> PreTrainedTokenizerFast:
    """Made elsewhere: upper case only, no start token; `words` are what is looked up."""
    vocabulary = {token: i for i, token in enumerate(["[UNK]", "[PAD]", *letters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(words), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")


def with_tokenizer(tokenizer) -> LoadedModel:
    settings = ModelSettings(preset="qwen3-small", settings=SMALL)
    model = build_model(settings, configuration(settings, tokenizer), seed=0).eval()
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), 64)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("preset", "k"), [("qwen3-small", 3), ("mistral-small", 1)])
def test_a_model_without_fault_passes(preset, k, side):
    loaded = fresh(preset, k)
    loaded.tokenizer.padding_side = side
    checks = results(loaded)
    assert list(checks) == DENSE
    assert all(result.passed for result in checks.values()), checks
    # The same arithmetic twice, and two batches of one shape: not even rounding.
    assert [checks[name].figure for name in ("future", "case", "reload", "tokenizer")] == [0, 0, 0, 0]


def test_byte_pairs_pass(byte_pair_tokenizer):
    settings = ModelSettings(preset="qwen3-small", settings=SMALL)
    model = build_model(settings, configuration(settings, byte_pair_tokenizer), seed=0).eval()
    assert failed(LoadedModel(model, byte_pair_tokenizer, SequenceEncoder(byte_pair_tokenizer), 64)) == []


@pytest.mark.parametrize("ahead", [1, 2])
def test_a_model_that_sees_later_tokens(ahead):
    """Also the one that sees nothing but the token that it predicts."""
    loaded = fresh()

    def peek(_module, _inputs, kwargs, output):
        output.logits += (
            0.01
            * torch.roll(kwargs["input_ids"], -ahead, 1)[..., None]
            * torch.rand(output.logits.shape[-1], generator=torch.Generator().manual_seed(0))
        )
        return output

    loaded.model.register_forward_hook(peek, with_kwargs=True)
    assert "future" in failed(loaded)


def test_attention_to_what_comes_later():
    loaded = fresh()

    def open_mask(_module, _inputs, kwargs):
        rows, tokens = kwargs["input_ids"].shape
        return (), kwargs | {"attention_mask": torch.zeros(rows, 1, tokens, tokens)}

    loaded.model.register_forward_pre_hook(open_mask, with_kwargs=True)
    assert "future" in failed(loaded)


def test_a_mask_that_fails_in_long_rows_alone():
    """Rows of 200 tokens and more look ahead; the short ones that the other self-tests look at do not."""
    loaded = dataclasses.replace(fresh(), context_tokens=512)

    def open_long_mask(_module, _inputs, kwargs):
        rows, tokens = kwargs["input_ids"].shape
        return (), kwargs | ({"attention_mask": torch.zeros(rows, 1, tokens, tokens)} if tokens >= 200 else {})

    loaded.model.register_forward_pre_hook(open_long_mask, with_kwargs=True)
    assert "future" in failed(loaded)


def test_a_model_that_reads_padding():
    loaded = fresh()
    loaded.tokenizer.padding_side = "left"

    def forget_mask(_module, _inputs, kwargs):
        # transformers would guess the padding from the positions too.
        return (), {name: value for name, value in kwargs.items() if name not in ("attention_mask", "position_ids")}

    loaded.model.register_forward_pre_hook(forget_mask, with_kwargs=True)
    assert failed(loaded) == ["padding", "mates"]


def test_a_model_that_looks_at_other_rows():
    loaded = fresh()

    def mix(_module, _inputs, output):
        output.logits = output.logits + 0.05 * output.logits.roll(1, 0)
        return output

    loaded.model.register_forward_hook(mix)
    # Alone, and among changed copies of itself, every row has other mates.
    assert {"padding", "mates"} <= set(failed(loaded))


def test_a_tokenizer_that_tells_cases_apart():
    loaded = fresh(k=1)

    class CaseSensitive(SequenceEncoder):
        def encode_many(self, sequences):
            return super().encode_many(
                [np.where(dna.is_soft_masked(s), ord("N"), s).astype(np.uint8) for s in sequences]
            )

    assert failed(dataclasses.replace(loaded, encoder=CaseSensitive(loaded.tokenizer))) == ["case"]


def test_case_is_folded_for_a_tokenizer_that_does_not():
    case = results(with_tokenizer(letter_tokenizer("ACGT")))["case"]
    assert case.passed and case.figure == 0
    assert "Used without Primase" in case.meaning
    assert "Used without Primase" not in results(fresh())["case"].meaning


def test_what_is_not_in_the_saved_weights():
    loaded = fresh()
    loaded.model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: output * 1.01)
    assert failed(loaded) == ["reload"]


def test_a_model_that_cannot_be_loaded_again(monkeypatch):
    loaded = fresh()
    monkeypatch.setattr(type(loaded.model), "save_pretrained", lambda self, folder: self.config.save_pretrained(folder))
    reload = results(loaded)["reload"]
    assert not reload.passed
    assert "the model cannot be loaded" in reload.meaning


def test_a_tokenizer_without_a_letter():
    sequences = windows(letters=b"AACG")
    result = results(with_tokenizer(letter_tokenizer("ACT")), sequences)["tokenizer"]
    # The first window is looked at a second time, with three N in its middle.
    again = sequences[0].copy()
    again[35:38] = ord("N")
    looked_at = [*sequences, again]
    lost = sum(int((window == ord("G")).sum()) for window in looked_at)
    assert not result.passed
    assert result.figure == pytest.approx(lost / (7 * 70 - 3))
    assert f"{lost + 3} tokens were unknown" in result.meaning


def test_one_unknown_token_is_told_as_one():
    """Of the three N in the first window, which this tokenizer takes for one word."""
    result = results(with_tokenizer(letter_tokenizer("ACGT", words="N+|.")))["tokenizer"]
    assert result.passed and "saw. 1 token was unknown (N," in result.meaning


def test_unknown_bases_are_no_loss():
    sequences = windows(letters=b"ACGTNacgtn")
    assert results(uniform_model(k=3), sequences)["tokenizer"].figure == 0


def test_a_model_that_knows_one_strand():
    """It bets on A: right on this strand, wrong on the other."""
    loaded = uniform_model()
    a = loaded.encoder.encode(b"A")[0]

    def bet(_module, _inputs, output):
        output.logits[..., a] += 1.0
        return output

    loaded.model.register_forward_hook(bet)
    sequences = windows(letters=b"AAAC")
    result = results(loaded, sequences)["strands"]
    # One logit of 1 among V - 1 of 0: an A costs one nat less than any other token.
    share = np.mean([(window == ord("A")).mean() for window in sequences])
    assert result.figure == pytest.approx(share / np.log(2), rel=1e-4)
    assert not result.passed
    # With fewer than 6,000 bases chance alone does more.
    assert result.limit == pytest.approx(0.05 * (6000 / 420) ** 0.5)


@pytest.mark.parametrize("name", ROUTERS)
def test_routers(name):
    checks = results(mixture(name))
    assert list(checks) == [*DENSE, "router"]
    router = checks["router"]
    is_dead = name in ("dead", "renormalised")
    assert router.passed != is_dead
    # Two orders of magnitude to the limit on either side.
    assert router.figure < 1e-6 if is_dead else router.figure > 1e-2
    assert ("in 2 of 2 layers" in router.meaning) == is_dead
    assert all(checks[name].passed for name in DENSE), checks


def test_a_model_of_nan_passes_nothing_that_it_computes(tmp_path):
    loaded = mixture("two experts a token")
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.fill_(float("nan"))
    checks = check_model(loaded, windows(), folder=None, name="model")
    assert [c.name for c in checks.checks if c.passed] == ["tokenizer"]
    checks.write(tmp_path / "checks.json")
    assert Checks.model_validate_json((tmp_path / "checks.json").read_text()) == checks


def test_nothing_is_left_behind(tmp_path):
    loaded = mixture("two experts a token")
    loaded.model.train()
    torch.manual_seed(5)
    random_state, before = torch.get_rng_state(), {n: w.clone() for n, w in loaded.model.state_dict().items()}
    check_model(loaded, windows(), folder=tmp_path, name="model")
    assert loaded.model.training
    assert all(weight.grad is None for weight in loaded.model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(before[name], weight) for name, weight in loaded.model.state_dict().items())
    assert not any(module._forward_hooks for module in loaded.model.modules())
    assert list(tmp_path.iterdir()) == []


def test_at_most_so_many_bases_are_looked_at(monkeypatch):
    seen = []
    monkeypatch.setattr("primase.checks.self_tests.strands", lambda subject: seen.append(subject) or None)
    monkeypatch.setattr("primase.checks.self_tests.Checks", lambda **values: values)
    check_model(uniform_model(), windows(20, 2 * WINDOW_BASES), folder=None, name="model")
    assert [len(window) for window in seen[0].windows] == [WINDOW_BASES] * (BASES // WINDOW_BASES)


def test_a_folder_and_sequences_of_any_kind(tmp_path):
    loaded = fresh()
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "x.fa").write_text(">telomere\n" + "N" * 3000 + "\n>a\n" + "acgtRYK" * 40 + "\n")
    for sequences in (None, tmp_path / "x.fa", ["ACGTTGCATT" * 5, b"acgt" * 9]):
        result = check(tmp_path / "model", sequences=sequences)
        assert [c.name for c in result.checks] == DENSE
        assert all(c.passed for c in result.checks if c.name != "strands"), result
    assert not (tmp_path / "model" / "checks.json").exists()


def test_too_short_sequences_are_refused():
    with pytest.raises(InputError, match="two tokens or more"):
        check_model(uniform_model(), [np.frombuffer(b"A", np.uint8)], folder=None, name="model")


def test_windows_of_a_base_are_not_looked_at_where_there_are_others(tmp_path):
    """The held-out part may hold nothing but the end of a record."""
    genome = tmp_path / "g.fa"
    genome.write_text("".join(f">r{i}\n{'ACGTTGCAGT' * 30}\n" for i in range(9)) + ">end\nA\n")
    changes = {"data.window_bases": 300, "split.heldout_records": ("end",), "split.gap_bases": 0}
    corpus = prepare([genome], tmp_path / "corpus", Recipe.load("default", changes))
    assert corpus.windows["length"][corpus.part("heldout")].tolist() == [1]
    assert {len(window) for window in corpus_windows(corpus, seed=0)} == {300}


def test_one_short_sequence_is_enough():
    assert failed(uniform_model(), [np.frombuffer(b"AC", np.uint8)]) == []
    without_start_token = with_tokenizer(letter_tokenizer("ACGT"))
    assert without_start_token.encoder.prefix_ids == []
    assert failed(without_start_token, [np.frombuffer(b"AC", np.uint8)]) == []


def test_a_mixture_whose_routers_are_not_known_does_not_pass_as_dense():
    loaded = tiny_model("mixtral-1m", k=3, num_local_experts=4, num_experts_per_tok=2)
    for module in loaded.model.modules():
        if type(module).__name__.endswith("Router"):
            module.__class__ = type("Gate", (type(module),), {})
    last = check_model(loaded, windows(), folder=None, name="gated").checks[-1]
    assert (last.name, last.passed) == ("router", False) and "does not know the routers" in last.meaning
