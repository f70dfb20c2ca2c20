"""Runs for the tests of the report: a folder with everything that can be measured, written by hand in a moment."""

import json
import math
import random
from pathlib import Path

from primase.recipe import Recipe
from primase.results import (
    CalibrationBin,
    Check,
    Checks,
    Ensemble,
    Estimate,
    Evaluation,
    LayerRouting,
    Leakage,
    LeakedLoss,
    Locus,
    Rival,
    Routing,
)

CHECKS = {
    "future": ("A base was changed, and no prediction before it moved.", "nats"),
    "padding": ("A sequence was scored with and without padding.", "nats"),
    "mates": ("A sequence was scored alone and beside others.", "nats"),
    "case": ("Small and capital letters gave the same figures.", "nats"),
    "reload": ("The model was saved and loaded again.", "nats"),
    "tokenizer": ("Bases were spelled as tokens and back.", "bases"),
    "strands": ("Both strands cost about the same.", "bits per base"),
}


def trained_run(folder: Path, name: str = "yeast-small", *, experts: int = 0, steps: int = 600) -> Path:
    """A run that was trained and not measured: recipe, environment, metrics and a final model without real weights."""
    run = folder / name
    sources = [{"name": "sacCer3.fa.gz", "bytes": 3_820_548, "sha256": "ab" * 32}]
    (run / "final").mkdir(parents=True)
    _write_corpus(run / "corpus", sources)
    recipe = Recipe.load(
        "default", {"training.steps": steps, "split.strategy": "blocks", "model.preset": "qwen3-small"}
    )
    (run / "recipe.toml").write_text(recipe.to_toml(), "utf-8")
    environment = {
        "schema_version": 1,
        "primase": "0.1.0",
        "python": "3.11.7",
        "libraries": {"torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.6"},
        "hardware": {
            "device": "cpu",
            "processor": "AMD EPYC 9654 96-Core Processor",
            "cores": 2,
            "bf16_in_hardware": 1,
        },
        "precision": "bf16",
        "command": ["/opt/primase/bin/primase", "pretrain", "sacCer3.fa.gz", "-o", f"runs/{name}", "--minutes", "10"],
        "started": "2026-11-25T03:16:34+0000",
        "corpus_digest": "5c714df465893860",
        "sources": sources,
    }
    (run / "environment.json").write_text(json.dumps(environment), "utf-8")
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in _metrics(steps)), "utf-8")
    (run / "final" / "config.json").write_text(json.dumps(_config(experts)), "utf-8")
    shapes = {"model.embed.weight": [73, 192], "lm_head.weight": [73, 192]}
    if experts:
        shapes["model.layers.0.mlp.experts.gate_up_proj"] = [experts, 256, 256]
    head = json.dumps({key: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for key, shape in shapes.items()})
    (run / "final" / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head.encode())
    return run


def measured_run(folder: Path, name: str = "yeast-small", *, experts: int = 0) -> Path:
    """The same with everything: evaluation.json, checks.json and the leakage of its corpus."""
    run = trained_run(folder, name, experts=experts)
    evaluation(name, experts).write(run / "evaluation.json")
    checks(name, experts).write(run / "checks.json")
    leakage().write(run / "corpus" / "leakage.json")
    return run


def _write_corpus(corpus: Path, sources: list[dict]) -> None:
    """A corpus whose description is whole and whose bases are nothing but zeros."""
    corpus.mkdir()
    description = {
        "schema_version": 1,
        "sources": sources,
        "records": 17,
        "base_counts": {"A": 3_766_349, "C": 2_320_576, "G": 2_317_100, "T": 3_753_080, "N": 0, "soft_masked": 768_126},
        "split": {
            "strategy": "records",
            "heldout_records": ["chrIV", "chrXVI"],
            "block_bases": 100_000,
            "gap_bases": 1_000,
        },
        "windows": {"train": 1_000, "validation": 60, "heldout": 1_052, "unused": 3},
        "bases": {
            "train": 9_870_000,
            "validation": 530_000,
            "heldout": 1_050_000,
            "unused": 30_000,
            "outside_windows": 677_105,
        },
        "tokenizer_sha256": "cd" * 32,
        "digest": "5c714df465893860",
        "unknown_tokens": 0,
    }
    (corpus / "corpus.json").write_text(json.dumps(description), "utf-8")
    with open(corpus / "bases.bin", "wb") as bases:
        bases.truncate(12_157_105)
    for name in ("windows.npy", "records.parquet"):
        (corpus / name).write_bytes(b"")


def _config(experts: int) -> dict:
    config = {
        "model_type": "qwen3",
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "vocab_size": 73,
    }
    return config | {"model_type": "qwen3_moe", "num_experts": experts, "num_experts_per_tok": 2} if experts else config


def _metrics(steps: int) -> list[dict]:
    generator, lines = random.Random(0), []
    for step in range(10, steps + 1, 10):
        bits = 1.87 + 0.21 * math.exp(-step / 90) + generator.gauss(0, 0.012)
        seconds, bases = 0.97 * step, 8160 * step
        lines.append(
            {"step": step, "epoch": step / 300, "tokens": bases // 3, "bases": bases, "seconds": seconds}
            | {"loss_nats_per_token": bits * 2.079, "bits_per_base": bits, "learning_rate": 1e-3}
            | {"tokens_per_second": 2800.0, "mfu": 0.2}
        )
        if step % 100 == 0:
            measured = 1.885 + 0.2 * math.exp(-step / 95)
            lines.append({"step": step, "epoch": step / 300, "seconds": seconds, "eval_bits_per_base": measured})
    return lines


def estimate(bits: float, bases: int = 1_046_312, width: float = 0.0081) -> Estimate:
    return Estimate(bits_per_base=bits, low=bits - width, high=bits + width, bases=bases)


def evaluation(name: str = "yeast-small", experts: int = 0) -> Evaluation:
    """Every field filled in, no two figures alike."""
    markov = [1.9598 - 0.0371 * (1 - math.exp(-order / 4)) + 0.00007 * order for order in range(17)]
    best = markov.index(min(markov))
    classes = {"repeat": 0.4, "non-repeat": -0.02, "coding": 0.03, "intergenic": -0.05}
    rival_classes = {name: 1.9213 - shift for name, shift in classes.items()}
    return Evaluation(
        model=name,
        part="heldout",
        split_strategy="blocks",
        stretches=11,
        windows=1_052,
        tokens=348_812,
        unknown_tokens=0,
        context_tokens=341,
        stride_fraction=0.5,
        bootstrap_blocks=107,
        nats_per_token=3.9217,
        forward=estimate(1.8864),
        reverse_complement=estimate(1.8869, width=0.0083),
        both_strands_mean=estimate(1.88665, width=0.0082),
        classes={key: estimate(1.8851 - classes[key], 150_000 + 1000 * index) for index, key in enumerate(classes)},
        rivals=[
            _rival("uniform", "uniform guessing", 2.0, 113.6, 3.2),
            _rival("markov", f"Markov, order {best}, both strands", min(markov), 37.4, 4.1, rival_classes),
            _rival(
                "copy-mixture",
                "copy mixture, both strands",
                1.9121,
                25.7,
                5.9,
                {key: value - 0.011 for key, value in rival_classes.items()},
            ),
            _rival("untrained", "untrained twin", 2.0877, 201.3, 3.4),
        ],
        ensembles=[
            _ensemble("frames", "mean over 3 reading frames", 1.8797),
            _ensemble("with-copy-mixture", "with the copy mixture", 1.8533),
        ],
        markov_bits_per_base=markov,
        best_markov_order=best,
        leaked=LeakedLoss(
            clean=estimate(1.8993),
            hit=estimate(1.2127, 40_412),
            clean_windows=1_011,
            hit_windows=41,
            markov_clean=1.9321,
            markov_hit=1.1432,
        ),
        calibration=[
            CalibrationBin(
                tokens=round(90_000 * math.exp(-index)),
                mean_confidence=0.03 + 0.093 * index,
                accuracy=0.028 + 0.087 * index,
            )
            for index in range(10)
        ],
        calibration_error=0.0123,
        routing=_routing(experts) if experts else None,
        loci=[_locus("chrIV", 812_431, 1), _locus("chrXVI", 3_000, 2), _locus("chrII <b>&", 55, 3)],
        verdict="beats all Markov models of order 0 to 16, the best of them (order 16) by 37.4 millibits a base (the "
        "interval excludes zero); beats the copy mixture, by 25.7 millibits a base (the interval excludes zero)",
    )


def _ensemble(kind: str, name: str, bits: float) -> Ensemble:
    others = [("model", "the model alone", 1.8864), ("markov", "Markov", 1.9238), ("copy-mixture", "copying", 1.9121)]
    rivals = [_rival(kind, name, other, 1000 * (other - bits), 2.3) for kind, name, other in others]
    return Ensemble(kind=kind, name=name, figure=estimate(bits, width=0.0079), rivals=rivals)


def _rival(kind: str, name: str, bits: float, advantage: float, width: float, classes: dict | None = None) -> Rival:
    return Rival(
        kind=kind,
        name=name,
        bits_per_base=bits,
        model_advantage_millibits=advantage,
        low=advantage - width,
        high=advantage + width,
        classes=classes or {},
    )


def _locus(record: str, start: int, seed: int) -> Locus:
    generator, bases = random.Random(seed), 1_000
    sequence, model, markov, copying = [], [], [], []
    for place in range(bases):
        letter = generator.choice("ACGT")
        is_repeat = 300 < place < 300 + 130 * seed
        sequence.append(letter.lower() if is_repeat else letter)
        level = 0.9 if is_repeat else 1.9
        model.append(round(max(0.02, generator.gauss(level, 0.5)), 3))
        markov.append(round(max(0.02, generator.gauss(1.93, 0.35)), 3))
        copying.append(round(max(0.02, generator.gauss(1.1 if is_repeat else 1.95, 0.4)), 3))
    return Locus(
        record=record, start=start, sequence="".join(sequence), model_bits=model, markov_bits=markov, copy_bits=copying
    )


def _routing(experts: int) -> Routing:
    generator, layers = random.Random(4), []
    for layer in range(4):
        raw = [generator.gammavariate(1.2, 1) * (generator.random() > 0.08) for _ in range(experts)]
        load = [value / sum(raw) for value in raw]
        layers.append(
            LayerRouting(
                layer=layer,
                load=load,
                entropy_bits=-sum(share * math.log2(share) for share in load if share),
                dead_experts=sum(share == 0 for share in load),
                router_gradient=0.0031 + layer / 1e4,
                expert_gradient=0.0127 + layer / 1e4,
                enrichment={key: [generator.gauss(0, 0.9) for _ in load] for key in ("repeat", "coding", "intergenic")},
            )
        )
    return Routing(experts=experts, experts_per_token=2, tokens=348_812, layers=layers, learns=True)


def checks(name: str = "yeast-small", experts: int = 0, failed: tuple[str, ...] = ()) -> Checks:
    looked_at = [
        Check(name=key, passed=key not in failed, figure=3.1e-7 * (index + 1), unit=unit, limit=1e-4, meaning=meaning)
        for index, (key, (meaning, unit)) in enumerate(CHECKS.items())
    ]
    if experts:
        meaning = "The router's gradient was set beside the experts'."
        looked_at.append(
            Check(name="router", passed="router" not in failed, figure=0.24, unit="ratio", limit=1e-3, meaning=meaning)
        )
    return Checks(model=name, checks=looked_at)


def leakage() -> Leakage:
    return Leakage(
        part="heldout",
        windows=1_052,
        windows_of_part=1_052,
        kmer_bases=31,
        exact_copy_share=0.0057,
        half_kmers_share=0.039,
        mean_kmer_share=0.0513,
        minimizer_containment=0.0721,
        minimizer_bases=21,
        minimizer_window=11,
        kmer_share_histogram=[958, 31, 12, 6, 4, 5, 3, 4, 8, 21],
    )
