"""What other programs read in the files of `primase tracks` and `primase embed`, against values computed anew: JSON.

    python -m benchmarks.round_trips MODEL GENOME [--bases N] [--sequences N]

A bigWig of the first record's first bases is opened with pyBigWig, and each base compared with the surprisal of
`predict_bases`, window by window in passes of their own. An .h5ad of pieces of it is opened with anndata, and
compared with the mean of the model's own hidden states, one piece a pass (scanpy: `scanpy_round_trip.py`).
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import anndata
import numpy as np
import pyBigWig
import torch

from primase.base_predictions import predict_bases, surprisal
from primase.embedding import embed_to_file
from primase.formats import Genome
from primase.genome_tracks import tracks
from primase.scoring import LoadedModel, load_model

PIECE_BASES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("genome")
    parser.add_argument("--bases", type=int, default=60_000)
    parser.add_argument("--sequences", type=int, default=100)
    settings = parser.parse_args()
    loaded = load_model(settings.model)
    with Genome(settings.genome) as genome:
        record = next(iter(genome.lengths))
        bases = genome.bases(record, 0, settings.bases)
    with TemporaryDirectory() as folder:
        found = bigwig(loaded, bases, Path(folder)) | h5ad(loaded, bases, settings.sequences, Path(folder))
    print(json.dumps(vars(settings) | {"record": record} | found, indent=1))


def bigwig(loaded: LoadedModel, bases: np.ndarray, folder: Path) -> dict:
    (folder / "genome.fa").write_bytes(b">chr1\n" + bases.tobytes() + b"\n")
    window = tracks(loaded, folder / "genome.fa", folder / "out.bw").window_bases
    with pyBigWig.open(str(folder / "out.bw")) as track:
        read = np.array(track.values("chr1", 0, len(bases)))
        mean_of_summaries = track.stats("chr1", type="mean")[0]
    expected = np.full(len(bases), np.nan)
    for begin in range(0, max(1, len(bases) - window // 2), window // 2):
        part = bases[begin : begin + window]
        skipped = window // 2 if begin else 0
        expected[begin + skipped : begin + window] = surprisal(next(predict_bases(loaded, [part])), part)[skipped:]
    assert (np.isnan(read) == np.isnan(expected)).all()
    return {
        "bigwig_bases": int(np.isfinite(read).sum()),
        "bigwig_largest_difference_bits": float(np.nanmax(np.abs(read - expected))),
        "bigwig_mean_of_values_bits": float(np.nanmean(read)),
        "bigwig_mean_of_summaries_bits": mean_of_summaries,
    }


def h5ad(loaded: LoadedModel, bases: np.ndarray, count: int, folder: Path) -> dict:
    begins = range(0, min(count * PIECE_BASES, len(bases) - PIECE_BASES + 1), PIECE_BASES)
    pieces = [bases[begin : begin + PIECE_BASES] for begin in begins]
    text = b"".join(b">piece%d\n%s\n" % (number, piece.tobytes()) for number, piece in enumerate(pieces))
    (folder / "pieces.fa").write_bytes(text)
    embed_to_file(loaded, [folder / "pieces.fa"], folder / "pieces.h5ad")
    expected = np.stack([_mean_state(loaded, piece) for piece in pieces])
    data = anndata.read_h5ad(folder / "pieces.h5ad")
    assert list(data.obs["name"]) == [f"piece{number}" for number in range(len(pieces))]
    return {
        "h5ad_vectors": len(pieces),
        "anndata_largest_difference": float(np.abs(data.X - expected).max()),
        "largest_value": float(np.abs(expected).max()),
    }


@torch.inference_mode()
def _mean_state(loaded: LoadedModel, piece: np.ndarray) -> np.ndarray:
    """float32 [width]: the last hidden state, mean over all tokens."""
    encoder = loaded.encoder
    ids = [*encoder.prefix_ids, *encoder.encode(piece).tolist(), *encoder.suffix_ids]
    output = loaded.model(torch.tensor([ids], device=loaded.model.device), output_hidden_states=True)
    return output.hidden_states[-1][0].mean(dim=0).float().cpu().numpy()


if __name__ == "__main__":
    main()
