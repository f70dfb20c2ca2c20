"""What variant scores are worth: common variants against random changes, and measured effects of single changes.

    python -m benchmarks.variant_effects RUN common --vcf VCF --genome FASTA [--most 1000]
    python -m benchmarks.variant_effects RUN saturation --elements elements.tsv.gz --genome elements.fa.gz

`common`: SNVs with an allele frequency of 5 to 95 % against as many random changes, each at a place within 2,000 bases
with the same base and the same neighbours, changed to the same base, where the VCF has no variant. Selection removes
harmful changes, so common ones should score higher: the area under the ROC curve, 0.5 by chance, with a bootstrap
interval over variants. `saturation`: Spearman correlation of the scores of all single changes of an element with their
measured effect on expression (Kircher et al. 2019), and with its size. Beside the model: the best Markov model of its
evaluation, counted on the same training bases.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pysam
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import primase
from primase.evaluation.markov import MarkovModels
from primase.formats import Genome
from primase.results import Evaluation

FLANK = 20
"""Bases on both sides of a change that a Markov model sees: more than its order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("what", choices=["common", "saturation"])
    parser.add_argument("--genome", required=True)
    parser.add_argument("--vcf")
    parser.add_argument("--elements")
    parser.add_argument("--names", nargs="*", default=["F9", "HBB", "HBG1", "GP1BA", "LDLR"])
    parser.add_argument("--most", type=int, default=1000)
    settings = parser.parse_args()
    run = primase.RunFolder.open(settings.run)
    corpus = run.corpus()
    order = Evaluation.model_validate_json(run.evaluation_file.read_text()).best_markov_order
    models = MarkovModels.fit(corpus.iterate_stretches(corpus.part("train")), max_order=order)
    with Genome(settings.genome) as genome:
        measure = common if settings.what == "common" else saturation
        print(json.dumps({"markov_order": order, **measure(settings, genome, models)}, indent=1))


def common(settings: argparse.Namespace, genome: Genome, models: MarkovModels) -> dict:
    rng = np.random.default_rng(0)
    with pysam.VariantFile(settings.vcf) as records:
        snvs = [(r.chrom, r.start, r.ref, r.alts, r.info.get("AF", (0,))[0]) for r in records]
    taken = {(chrom, start) for chrom, start, *_ in snvs}
    frequent = [
        (chrom, start, ref, alts[0])
        for chrom, start, ref, alts, frequency in snvs
        if 0.05 <= frequency <= 0.95 and len(ref) == 1 and alts and len(alts) == 1 and len(alts[0]) == 1
    ]
    frequent = [frequent[i] for i in sorted(rng.permutation(len(frequent))[: settings.most].tolist())]
    pairs = [(v, other) for v in frequent if (other := _matched(v, genome, taken, rng)) is not None]
    variants = [v for pair in pairs for v in pair]
    is_common = np.tile([1, 0], len(pairs))
    scores = {"model": _scored(settings.run, settings.genome, variants), "markov": _markov(models, genome, variants)}
    return {"pairs": len(pairs), **{name: _area(is_common, values) for name, values in scores.items()}}


def _matched(variant: tuple, genome: Genome, taken: set, rng: np.random.Generator) -> tuple | None:
    """A place near a variant with the same three bases and no variant, changed to the same base; None without one."""
    chrom, start, ref, alt = variant
    first = max(start - 2000, 1)
    letters = genome.bases(chrom, first - 1, start + 2001).tobytes().upper()
    three = genome.bases(chrom, start - 1, start + 2).tobytes().upper()
    if three[1:2].decode() != ref:
        return None
    places = [first + i for i in range(len(letters) - 2) if letters[i : i + 3] == three]
    places = [place for place in places if (chrom, place) not in taken]
    return (chrom, int(rng.choice(places)), ref, alt) if places else None


def _scored(run: str, genome: str, variants: list[tuple]) -> np.ndarray:
    """Scores of `primase score`, nats, mean of both strands, in the order given."""
    order = sorted(range(len(variants)), key=lambda i: variants[i][:2])
    with tempfile.TemporaryDirectory() as folder:
        vcf, table = Path(folder, "in.vcf"), Path(folder, "out.parquet")
        contigs = "".join(f"##contig=<ID={chrom}>\n" for chrom in dict.fromkeys(v[0] for v in variants))
        lines = [
            f"{chrom}\t{start + 1}\t.\t{ref}\t{alt}\t.\t.\t.\n"
            for chrom, start, ref, alt in map(variants.__getitem__, order)
        ]
        columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        vcf.write_text(f"##fileformat=VCFv4.2\n{contigs}{columns}{''.join(lines)}")
        primase.score(run, genome=genome, vcf=vcf, output=table)
        scores = np.empty(len(variants))
        scores[order] = pq.read_table(table)["llr_nats"].to_numpy()
    return scores


def _markov(models: MarkovModels, genome: Genome, variants: list[tuple]) -> np.ndarray:
    scores = []
    for chrom, start, _, alt in variants:
        window = genome.bases(chrom, start - FLANK, start + FLANK + 1)
        changed = window.copy()
        changed[min(start, FLANK)] = ord(alt)
        bits = [np.nansum(models.surprisal(letters, models.max_order)) for letters in (window, changed)]
        scores.append((bits[0] - bits[1]) * math.log(2))
    return np.array(scores)


def _area(is_common: np.ndarray, scores: np.ndarray) -> dict:
    """AUROC, with a 95 % bootstrap interval over pairs."""
    rng, pairs = np.random.default_rng(0), len(scores) // 2
    drawn = []
    for _ in range(1000):
        pair = rng.integers(pairs, size=pairs)
        places = np.concatenate([2 * pair, 2 * pair + 1])
        drawn.append(roc_auc_score(is_common[places], scores[places]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"auroc": round(roc_auc_score(is_common, scores), 4), "low": round(low, 4), "high": round(high, 4)}


def saturation(settings: argparse.Namespace, genome: Genome, models: MarkovModels) -> dict:
    parse = pyarrow.csv.ParseOptions(delimiter="\t")
    convert = pyarrow.csv.ConvertOptions(column_types={"Chrom": pyarrow.string()})
    rows = pyarrow.csv.read_csv(settings.elements, parse_options=parse, convert_options=convert).to_pylist()
    result = {}
    for name in settings.names:
        record = next(r for r in genome.lengths if r.startswith(f"{name}|GRCh38|"))
        begin = int(record.rsplit(":", 1)[1].split("-")[0])
        changes = [
            (record, row["Pos"] - begin, row["Ref"], row["Alt"], row["Coefficient"])
            for row in rows
            if row["Element"] == name and row["Release"] == "GRCh38" and row["Alt"] in ("A", "C", "G", "T")
        ]
        variants, effects = [change[:4] for change in changes], np.array([change[4] for change in changes])
        result[name] = {"changes": len(changes)}
        for who, scores in (
            ("model", _scored(settings.run, settings.genome, variants)),
            ("markov", _markov(models, genome, variants)),
        ):
            result[name][who] = {
                "with_effect": round(float(spearmanr(scores, effects, nan_policy="omit")[0]), 3),
                "with_size": round(float(spearmanr(-np.abs(scores), -np.abs(effects), nan_policy="omit")[0]), 3),
            }
    return result


if __name__ == "__main__":
    main()
