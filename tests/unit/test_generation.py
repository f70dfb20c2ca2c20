"""Generation: what is drawn, from which distribution, under which constraints; against brute force."""

import re
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import TopKLogitsWarper, TopPLogitsWarper

from primase.dna import reverse_complement
from primase.errors import InputError, ModelError
from primase.formats import read_records
from primase.generation.decoding import Decoder, capacity_tokens, context_of
from primase.generation.enzymes import SITES
from primase.generation.generate import generate
from primase.generation.sampling import Sampling
from primase.generation.sites import ForbiddenSites, base_sets
from primase.models.build import build_model, configuration
from primase.recipe import ModelSettings
from primase.scoring import LoadedModel, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import train_byte_pair_tokenizer
from tests.models import TINY, tiny_model

IUPAC = dict(zip("RYSWKMBDHVN", ["AG", "CT", "CG", "AT", "GT", "AC", "CGT", "AGT", "ACT", "ACG", "ACGT"], strict=True))


def byte_pair_model() -> LoadedModel:
    bases = "".join(np.random.default_rng(1).choice(list("ACGT"), 20_000))
    tokenizer = train_byte_pair_tokenizer([bases], vocab_size=90)
    settings = ModelSettings(preset="qwen3-small", settings=TINY)
    model = build_model(settings, configuration(settings, tokenizer), seed=0).eval()
    return LoadedModel(model, tokenizer, SequenceEncoder(tokenizer), 64)


@pytest.fixture(scope="module")
def models() -> dict[str, LoadedModel]:
    return {"base": tiny_model(), "kmer": tiny_model(k=3), "byte-pair": byte_pair_model()}


KINDS = ["base", "kmer", "byte-pair"]


def texts(result) -> list[str]:
    return [one.sequence for one in result.sequences]


def has_site(sequence: str, site: str) -> bool:
    pattern = re.compile("".join(f"[{IUPAC.get(letter, letter)}]" for letter in SITES.get(site, site)))
    return any(pattern.search(strand) for strand in (sequence, reverse_complement(sequence)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bases", [1, 2, 50, 151])
def test_the_length_is_exact_and_only_bases_are_drawn(models, kind, bases):
    for prompt in ("", "ACGTTGCA"):
        result = generate(models[kind], bases=bases, count=5, prompt=prompt)
        for text, one in zip(texts(result), result.sequences, strict=True):
            assert re.fullmatch(f"{prompt}[ACGT]{{{bases}}}", text)
            assert (one.drawn_start, one.drawn_end) == (len(prompt), len(text))


def test_what_fills_no_kmer_of_a_prompt_is_drawn_with_the_next_bases(models):
    """A prompt in the middle of a k-mer: the tokens are those that the tokenizer gives the whole sequence."""
    loaded = models["kmer"]
    for text in texts(generate(loaded, bases=31, count=20, prompt="ACGTT")):
        assert text.startswith("ACGTT") and len(text) == 36
        assert all(len(loaded.encoder.spelled[i]) == 3 for i in loaded.encoder.encode(text.encode()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_whatever_the_batch(models, kind, tmp_path):
    prompts = tmp_path / "prompts.fa"
    prompts.write_text(">a\nACG\n>b\nTTGACATTTGACA\n>c\nG\n")
    loaded = models[kind].with_context(20)  # so that it slides
    options = {"bases": 60, "count": 2, "prompts": prompts, "gc": (0.3, 0.6)}
    together = generate(loaded, seed=5, **options)
    assert texts(generate(loaded, seed=5, batch_sequences=1, **options)) == texts(together)
    assert texts(generate(loaded, seed=6, **options)) != texts(together)
    assert [one.name for one in together.sequences] == [f"{name}_{n}" for name in "abc" for n in (1, 2)]
    assert len(set(texts(together))) == 6


def test_prompts_of_one_name_are_numbered_on(models, tmp_path):
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("name,sequence\na,ACG\nb c,TTG\na,GGT\nb_c,TAT\n")
    drawn = generate(models["base"], tmp_path / "o.fa", bases=9, count=2, prompts=prompts)
    names = ["a_1", "a_2", "b_c_1", "b_c_2", "a_3", "a_4", "b_c_3", "b_c_4"]
    assert [one.name for one in drawn.sequences] == names
    assert [record.name for record in read_records([tmp_path / "o.fa"])] == names


def test_more_sequences_begin_with_the_same_ones(models):
    few, many = (generate(models["base"], bases=30, count=count, batch_sequences=4) for count in (3, 9))
    assert texts(many)[:3] == texts(few)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_with_the_cache_are_those_of_a_full_pass(models, kind):
    """Step by step, beyond the context, which slides by the rule of scoring."""
    loaded = models[kind]
    stream = np.random.default_rng(0)
    ids = torch.from_numpy(stream.integers(4, loaded.model.config.vocab_size, (3, 150)))
    prefix, capacity = torch.tensor(loaded.encoder.prefix_ids), capacity_tokens(loaded)
    stride = capacity // 2
    decoder = Decoder(loaded, [row[:5].numpy() for row in ids], 150)
    with torch.inference_mode():
        for place in range(5, 150):
            slides = max(0, (place - capacity) // stride + 1)
            first = slides * stride
            context = torch.cat([prefix.expand(3, -1), ids[:, first:place]], dim=1)
            expected = loaded.model(context, use_cache=False).logits[:, -1]
            torch.testing.assert_close(decoder.logits(), expected, rtol=1e-4, atol=1e-4)
            decoder.append(ids[:, place])


def test_padding_on_the_left_changes_no_logits(models):
    loaded = models["base"]
    ids = np.random.default_rng(0).integers(4, 8, (3, 30))
    lengths = [2, 9, 5]
    decoder = Decoder(loaded, [row[:length] for row, length in zip(ids, lengths, strict=True)], 25)
    with torch.inference_mode():
        for step in range(15):
            found = decoder.logits()
            for row, length in enumerate(lengths):
                alone = [*loaded.encoder.prefix_ids, *ids[row, : length + step]]
                expected = loaded.model(torch.tensor([alone]), use_cache=False).logits[0, -1]
                torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)
            decoder.append(torch.tensor([ids[row, length + step] for row, length in enumerate(lengths)]))


def test_each_token_is_drawn_from_the_context_that_scoring_gives_it(models):
    """The nats along the way add up to what `score_windows` says; the length ends with a full row."""
    loaded = models["base"]
    capacity = capacity_tokens(loaded)
    text = np.random.default_rng(3).choice(np.frombuffer(b"ACGT", np.uint8), capacity + 4 * int(capacity * 0.5))
    ids = torch.from_numpy(loaded.encoder.encode(text))
    nats = []
    for begin in (0, capacity - 7, capacity + 40):  # begun anew in the middle: a prompt of any length
        decoder = Decoder(loaded, [context_of(loaded, ids[:begin].numpy())], len(ids))
        with torch.inference_mode():
            for place in range(begin, len(ids)):
                nats.append(-torch.log_softmax(decoder.logits()[0], 0)[ids[place]].item())
                decoder.append(ids[place : place + 1])
        expected = next(score_windows(loaded, [text])).nats[begin:]
        np.testing.assert_allclose(nats[-len(expected) :], expected, rtol=1e-3, atol=1e-4)


def pair_probabilities(loaded: LoadedModel, prompt: str, temperature: float = 1.0) -> np.ndarray:
    """Exact [4, 4] of the next two tokens among A, C, G, T (ids 4 to 7), from full passes without a cache."""
    ids = [*loaded.encoder.prefix_ids, *loaded.encoder.encode(prompt.encode())]
    with torch.inference_mode():
        first = torch.softmax(loaded.model(torch.tensor([ids])).logits[0, -1, 4:8].double() / temperature, 0)
        after = loaded.model(torch.tensor([[*ids, base] for base in range(4, 8)])).logits[:, -1, 4:8].double()
    return (first[:, None] * torch.softmax(after / temperature, 1)).numpy()


def counts_of_pairs(sequences: list[str]) -> np.ndarray:
    pairs = ["".join(pair) for pair in product("ACGT", repeat=2)]
    return np.array([sum(text[-2:] == pair for text in sequences) for pair in pairs], float)


@pytest.fixture(scope="module")
def mild() -> LoadedModel:
    """A model that is uneven, but gives no base a probability near zero."""
    loaded = tiny_model()
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.mul_(0.2)
    return loaded


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_tokens_and_pairs_come_as_often_as_the_model_says(mild, temperature):
    expected = 3000 * pair_probabilities(mild, "ACGTTG", temperature).reshape(-1)
    assert expected.max() > 1.3 * expected.min() and expected.min() > 10
    drawn = generate(mild, bases=2, count=3000, prompt="ACGTTG", batch_sequences=2000, temperature=temperature)
    found = counts_of_pairs(texts(drawn))
    assert chisquare(found, expected).pvalue > 1e-3
    assert chisquare(found.reshape(4, 4).sum(1), expected.reshape(4, 4).sum(1)).pvalue > 1e-3


def test_the_distribution_is_that_of_generate_of_transformers(mild):
    ids = [*mild.encoder.prefix_ids, *mild.encoder.encode(b"ACGTTG")]
    torch.manual_seed(0)
    other = [i for i in range(mild.model.config.vocab_size) if i not in range(4, 8)]
    theirs = mild.model.generate(
        torch.tensor([ids]).repeat(3000, 1), do_sample=True, max_new_tokens=2, min_new_tokens=2, top_k=0,
        suppress_tokens=other, pad_token_id=3,
    )  # fmt: skip
    theirs = counts_of_pairs(["".join("ACGT"[i - 4] for i in row[-2:].tolist()) for row in theirs])
    ours = counts_of_pairs(texts(generate(mild, bases=2, count=3000, prompt="ACGTTG", batch_sequences=3000, seed=1)))
    assert np.abs(ours - theirs).sum() / 2 / 3000 < 0.05  # of two samples of this size about 0.026 is expected


@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (3, None), (None, 0.6), (7, 0.8), (1, None)])
def test_top_k_and_top_p_are_those_of_transformers(top_k, top_p):
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(4)) * 2
    scores = logits.clone()
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p:
        scores = TopPLogitsWarper(top_p)(None, scores)
    uniforms = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    tokens = Sampling(1.0, top_k, top_p).draw(logits.expand(20_000, -1), None, uniforms)
    shares = torch.bincount(tokens, minlength=12) / 20_000
    torch.testing.assert_close(shares, torch.softmax(scores[0], 0), atol=2e-4, rtol=0)


def test_what_is_ruled_out_is_never_drawn():
    penalties = torch.full((2, 6), -torch.inf, dtype=torch.float64)
    penalties[:, 2] = 0
    for uniform in (0.0, 1 - 2**-53):
        tokens = Sampling().draw(torch.zeros(2, 6), penalties, torch.full((2,), uniform, dtype=torch.float64))
        assert tokens.tolist() == [2, 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sites", [("HinfI", "TaqI", "AluI"), ("BtgZI", "GCNNNNNNNGC"), ("CG", "TATA", "SWS")])
def test_forbidden_sites_stand_nowhere_on_either_strand(models, kind, sites):
    """Also across tokens, and across the borders with prompt and flanks."""
    plain = generate(models[kind], bases=100, count=40, prompt="GAT", left_flank="TGAA", right_flank="TCATT", seed=2)
    options = {"bases": 100, "count": 40, "prompt": "GAT", "left_flank": "TGAA", "right_flank": "TCATT", "seed": 2}
    assert any(has_site(text, site) for text in texts(plain) for site in sites)
    for text in texts(generate(models[kind], forbid=sites, **options)):
        assert re.fullmatch("TGAAGAT[ACGT]{100}TCATT", text)
        assert not any(has_site(text, site) for site in sites)


def test_the_automaton_finds_what_regular_expressions_find():
    stream = np.random.default_rng(0)
    sites = ["EcoRI", "GANTC", "CCWWGG", "ACRY", "TTTTTT", "GGTACC"]
    automaton = ForbiddenSites(sites)
    for _ in range(300):
        text = "".join(stream.choice(list("ACGT"), 25))
        state = automaton.read(0, ["ACGT".index(base) for base in text])
        assert (state < 0) == any(has_site(text, site) for site in sites)
        found = automaton.first_in(text.encode())
        assert (found is None) if state >= 0 else has_site(text, found)


def test_every_site_of_the_table_is_a_sequence_that_the_automaton_finds():
    for name, site in SITES.items():
        example = "".join(IUPAC.get(letter, letter)[0] for letter in site)
        assert len(base_sets(site, name)) >= 4 and ForbiddenSites([name]).first_in(example.encode()) == name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gc", [(0.5, 0.5), (0.2, 0.25), (0.7, 0.8)])
def test_the_gc_content_ends_in_the_range(models, kind, gc):
    result = generate(models[kind], bases=94, count=20, gc=gc, prompt="ACG", right_flank="GGC", motif="TATAWAW")
    assert result.retries == 0
    for text, one in zip(texts(result), result.sequences, strict=True):
        share = sum(base in "GC" for base in text) / 100
        assert gc[0] <= share <= gc[1] and one.gc_share == pytest.approx(share)


def test_gc_is_steered_all_along_and_not_at_the_end(models):
    """Uniform bases conditioned on their sum: each third has the same share on average."""
    loaded = tiny_model()
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.zero_()
    result = generate(loaded, bases=60, count=400, gc=(0.7, 0.72), batch_sequences=400)
    is_gc = np.array([[base in "GC" for base in text] for text in texts(result)])
    thirds = is_gc.reshape(400, 3, 20).mean(axis=(0, 2))
    np.testing.assert_allclose(thirds, 0.7083, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_a_motif_stands_where_it_was_put(models, kind):
    pattern = re.compile("TATA[AT]A[AT]")
    for at in (0, 13, 33):
        for text in texts(generate(models[kind], bases=40, count=5, motif="TATAWAW", motif_at=at, left_flank="CC")):
            assert pattern.match(text, 2 + at)
    result = generate(models[kind], bases=40, count=40, motif="TATAWAW")
    places = [one.motif_start for one in result.sequences]
    assert all(pattern.match(text, place) for text, place in zip(texts(result), places, strict=True))
    assert min(places) < 8 and max(places) > 25 and max(places) <= 33


def test_sites_are_avoided_around_a_motif(models):
    """The motif begins and ends in halves of the site: what stands beside it must not complete them."""
    for kind in KINDS:
        result = generate(models[kind], bases=40, count=60, motif="TTCNNNGAA", motif_at=10, forbid=["EcoRI"])
        assert result.retries == 0
        assert not any(has_site(text, "EcoRI") for text in texts(result))


def test_a_motif_may_be_longer_than_python_lets_functions_nest(mild):
    """Every third place is free, as in a gene written back from its protein, and a site may stand anywhere in it."""
    (text,) = texts(generate(mild, bases=1600, count=1, motif="GCN" * 500, motif_at=30, forbid=["GGTCTC", "GCAGCTGC"]))
    assert re.fullmatch("(GC.)*", text[30:1530]) and not has_site(text, "GGTCTC") and "GCAGCTGC" not in text


def test_dead_ends_are_drawn_again_and_counted(mild):
    """No two of G and C side by side, and yet four of eight: the automaton and the count do not know of each other."""
    result = generate(mild, bases=8, count=40, forbid=["SS"], gc=(0.5, 0.5))
    assert result.retries == sum(one.attempts - 1 for one in result.sequences) > 0
    for text in texts(result):
        is_gc = "".join("S" if base in "GC" else "W" for base in text)
        assert is_gc.count("S") == 4 and "SS" not in is_gc
    with pytest.raises(InputError, match="sequence 1: no draw met all constraints in 20 attempts; widen"):
        generate(mild, bases=8, count=3, forbid=["SS"], gc=(0.7, 0.8))


MISTAKES = {
    "bases 0: draw 1 or more": {"bases": 0},
    "count 0": {"count": 0},
    "seed -1: must be 0 or more": {"seed": -1},
    "temperature 0: must be 1e-06 or more": {"temperature": 0.0},
    "top-k 0": {"top_k": 0},
    "top-p 1.5": {"top_p": 1.5},
    "GC range 0.6 to 0.4": {"gc": (0.6, 0.4)},
    "no number of G and C in 10 bases is in it": {"gc": (0.41, 0.49)},
    "leave 0.500 to 1.000 of the 20 bases": {"gc": (0.1, 0.2), "right_flank": "GGGGGCCCCC"},
    "letter 'N' is not A, C, G or T": {"prompt": "ACGN"},
    "site 'NoSuchI': neither an enzyme that Primase knows": {"forbid": ["NoSuchI"]},
    "site 'NN': stands for every sequence": {"forbid": ["NN"]},
    "forbidden site EcoRI: the right flank holds it already": {"forbid": ["EcoRI"], "right_flank": "AGAATTCA"},
    "forbidden site EcoRI: the left flank and prompt holds it": {
        "forbid": ["EcoRI"],
        "left_flank": "AGAAT",
        "prompt": "TCA",
    },
    "forbidden site BsaI: the motif holds it already": {"forbid": ["BsaI"], "motif": "GAGACC"},
    "a motif of 6 bases at 5 does not fit into 10": {"motif": "TATAAA", "motif_at": 5},
    "a place for a motif, and no motif": {"motif_at": 5},
    "motif 'TAXA': letter 'X'": {"motif": "TAXA"},
    "a prompt and a file of prompts": {"prompt": "A", "prompts": "x.fa"},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_what_cannot_be_is_said_before_anything_is_drawn(models, message):
    with pytest.raises(InputError, match=re.escape(message)):
        generate(models["base"], **({"bases": 10} | MISTAKES[message]))


def test_a_tokenizer_that_cannot_spell_is_refused(models, monkeypatch):
    encoder = models["base"].encoder
    monkeypatch.setattr(encoder, "spelled", [b"" if text == b"T" else text for text in encoder.spelled])
    with pytest.raises(ModelError, match="no token for each of A, C, G and T"):
        generate(models["base"], bases=10)


def test_the_callers_model_is_put_back_as_found(models):
    models["base"].model.train()
    generate(models["base"], bases=5)
    assert models["base"].model.training
    models["base"].model.eval()
