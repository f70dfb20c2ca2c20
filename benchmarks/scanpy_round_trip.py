"""What scanpy reads in an .h5ad of `primase embed`, against the .npy of the same sequences: JSON, and a picture.

    python benchmarks/scanpy_round_trip.py vectors.h5ad vectors.npy --colour record -o map.png

Needs scanpy alone, in an environment of its own, without Primase and without torch: as a user of scanpy has it.
The picture is scanpy's: PCA, neighbours, UMAP, coloured by a column of `obs`.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad", type=Path)
    parser.add_argument("npy", type=Path)
    parser.add_argument("--colour", default="record")
    parser.add_argument("-o", "--output", type=Path, required=True)
    settings = parser.parse_args()
    data = sc.read_h5ad(settings.h5ad)
    vectors = np.load(settings.npy)
    found = {
        "versions": {library: version(library) for library in ("scanpy", "anndata", "numpy")},
        "shape": list(data.shape),
        "obs": list(data.obs.columns),
        "largest_difference": float(np.abs(data.X - vectors).max()),
        "largest_value": float(np.abs(vectors).max()),
    }
    sc.pp.pca(data)
    sc.pp.neighbors(data)
    sc.tl.umap(data)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    sc.pl.pca(data, color=settings.colour, ax=axes[0], show=False)
    sc.pl.umap(data, color=settings.colour, ax=axes[1], show=False)
    figure.savefig(settings.output, bbox_inches="tight")
    found["obsm"] = {name: list(array.shape) for name, array in data.obsm.items()}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
