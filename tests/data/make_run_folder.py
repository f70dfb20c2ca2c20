"""A tiny folder of everything that this version writes, for later versions to open: run it once for each release.

    python -m tests.data.make_run_folder

writes tests/data/run_folders/VERSION.tar.gz: a run that was evaluated, a corpus apart from its run, a fine-tuning, an
index, a compressed file, and the description of a simulated genome. Archives of released versions are never made anew.
"""

import io
import shutil
import sys
import tarfile
import tempfile
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

import numpy as np

from primase.version import __version__
from tests.contract.conftest import TINY_RECIPE, call

FOLDER = Path(__file__).parent / "run_folders"
MOST_BYTES = 150_000
BASES = 1200


def make(folder: Path) -> None:
    """Write everything into an empty folder. Raises RuntimeError where a command fails."""
    bases = "".join(np.random.default_rng(11).choice(list("ACGT"), BASES))
    (folder / "g.fa").write_text(f">chr1\n{bases}\n", "utf-8")
    rows = [f"s{i},{bases[9 * i :][:40]}{'GG' if i % 2 else 'AT'},{i % 2}" for i in range(24)]
    (folder / "t.csv").write_text("\n".join(["name,sequence,label", *rows]) + "\n", "utf-8")
    (folder / "tiny.toml").write_text(TINY_RECIPE.replace("steps = 2", "steps = 4, save_every = 2"), "utf-8")
    with chdir(folder), patch("primase.hardware.matrix_product_flops", lambda device, precision: 1e10):
        for line in (
            "pretrain g.fa -o run -r tiny.toml",
            "evaluate run",
            "prepare g.fa -o corpus -r tiny.toml",
            "pretrain corpus -o apart -r tiny.toml",
            "finetune run t.csv --label label -o task --epochs 1 --no-rivals",
            "search index run g.fa -o index --window-bases 60 --step-bases 60",
            "simulate -o sim.fa --bases 1000 --records 2",
            "compress run t.fa -o t.prm",
        ):
            if line.startswith("compress"):
                Path("t.fa").write_text(f">a\n{bases[:60]}\n", "utf-8")
            outcome = call(*line.split())
            if outcome.code:
                raise RuntimeError(f"primase {line}: {outcome.err}")
    # The first run can be gone on with from its first checkpoint; the rest would only take room.
    for surplus in ("run/checkpoints/step-000004", "apart/checkpoints"):
        shutil.rmtree(folder / surplus)


def main() -> None:
    archive = FOLDER / f"{__version__}.tar.gz"
    if archive.exists():
        sys.exit(f"{archive}: is there already; what a version wrote is not made anew (remove it before a release)")
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for entry in sorted(Path(place).iterdir()):
                tar.add(entry, entry.name, filter=_nobody)
    if len(out.getvalue()) > MOST_BYTES:
        sys.exit(f"{len(out.getvalue()):,} bytes, more than {MOST_BYTES:,}; make the model smaller")
    FOLDER.mkdir(exist_ok=True)
    archive.write_bytes(out.getvalue())
    print(f"{archive.name}: {len(out.getvalue()):,} bytes")


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
