"""Primase: DNA language models from scratch.

A genome becomes a trained, measured, usable model:

    run = primase.pretrain("genome.fa.gz", "runs/mine").run
    primase.evaluate(run).forward.bits_per_base
    primase.embed(run, ["ACGTAGCATCGG"])

Importing the package imports neither torch nor transformers; each name brings what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from primase.version import __version__

if TYPE_CHECKING:
    from primase.checks import check
    from primase.codec.compress import compress, decompress
    from primase.corpus.prepare import prepare
    from primase.corpus.store import Corpus
    from primase.embedding import embed, embed_to_file
    from primase.errors import PrimaseError
    from primase.evaluation.evaluate import evaluate
    from primase.finetuning.finetune import finetune
    from primase.finetuning.predict import predict, predict_to_file
    from primase.generation.generate import generate
    from primase.genome_tracks import tracks
    from primase.pictures.locus import picture_locus
    from primase.pictures.vector_map import picture_map
    from primase.recipe import Recipe
    from primase.report.card import write_card
    from primase.report.page import write_report
    from primase.run_folder import RunFolder
    from primase.scoring import load_model, score_windows
    from primase.search import index as search_index
    from primase.search import query as search_query
    from primase.simulate import simulate_to_file
    from primase.training.run import plan, pretrain, resume
    from primase.training.scale import plan_at_scale
    from primase.variants.score import score

_OTHER_NAME = {"search_index": "index", "search_query": "query"}
"""Names at home of what would be too short a name here."""

_HOME = {
    "Corpus": "primase.corpus.store",
    "PrimaseError": "primase.errors",
    "Recipe": "primase.recipe",
    "RunFolder": "primase.run_folder",
    "check": "primase.checks",
    "compress": "primase.codec.compress",
    "decompress": "primase.codec.compress",
    "embed": "primase.embedding",
    "embed_to_file": "primase.embedding",
    "evaluate": "primase.evaluation.evaluate",
    "finetune": "primase.finetuning.finetune",
    "generate": "primase.generation.generate",
    "load_model": "primase.scoring",
    "picture_locus": "primase.pictures.locus",
    "picture_map": "primase.pictures.vector_map",
    "plan": "primase.training.run",
    "plan_at_scale": "primase.training.scale",
    "predict": "primase.finetuning.predict",
    "predict_to_file": "primase.finetuning.predict",
    "prepare": "primase.corpus.prepare",
    "pretrain": "primase.training.run",
    "resume": "primase.training.run",
    "score": "primase.variants.score",
    "score_windows": "primase.scoring",
    "search_index": "primase.search",
    "search_query": "primase.search",
    "simulate_to_file": "primase.simulate",
    "tracks": "primase.genome_tracks",
    "write_card": "primase.report.card",
    "write_report": "primase.report.page",
}

__all__ = [
    "Corpus",
    "PrimaseError",
    "Recipe",
    "RunFolder",
    "__version__",
    "check",
    "compress",
    "decompress",
    "embed",
    "embed_to_file",
    "evaluate",
    "finetune",
    "generate",
    "load_model",
    "picture_locus",
    "picture_map",
    "plan",
    "plan_at_scale",
    "predict",
    "predict_to_file",
    "prepare",
    "pretrain",
    "resume",
    "score",
    "score_windows",
    "search_index",
    "search_query",
    "simulate_to_file",
    "tracks",
    "write_card",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'primase' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), _OTHER_NAME.get(name, name))


def __dir__() -> list[str]:
    return __all__
