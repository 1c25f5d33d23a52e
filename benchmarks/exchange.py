"""Measure whether a disentangler's principal subspace holds a factor that only follows the label.

    python benchmarks/exchange.py RUN FACTOR [--rows 0 8]

An image gets the principal subspace of another, which differs from it in label and in the factor, and is decoded. The
mean colour of some rows of pixels (by default the upper quarter: the wall of a scene of 32 pixels) is compared with
that of the reconstructions of each value of the factor. It prints as JSON how often the nearest value is that of the
image itself, and how often that of the other one. Ground truth is read only here.
"""

import argparse
import json
from pathlib import Path

import torch

from detaux.config import load_config
from detaux.data.augment import to_float
from detaux.data.schema import read_manifest
from detaux.data.split import Split, load_split
from detaux.disentangle.model import Disentangler, load_disentangler

PAIRS = 4000  # drawn; those of equal label or equal value are left out
BATCH = 512  # images


@torch.no_grad()
def exchange_principal(model: Disentangler, split: Split, factor: int, rows: slice) -> dict[str, float | int]:
    """Exchange the principal subspaces of image pairs; return their number and the shares of the two outcomes.

    `factor` is the column of the split's factors, and `rows` are the rows of pixels that show it.
    """
    values, value_N = split.factors[:, factor].unique(return_inverse=True)
    labels_N = split.labels

    def read_colour(subspaces_NKD: torch.Tensor) -> torch.Tensor:
        return torch.cat([model.decode(part.sum(1))[:, :, rows].mean((2, 3)) for part in subspaces_NKD.split(BATCH)])

    subspaces_NKD = torch.cat([model.project(model.encode(to_float(part))) for part in split.images.split(BATCH)])
    colour_N3 = read_colour(subspaces_NKD)
    colour_V3 = torch.stack([colour_N3[value_N == value].mean(0) for value in range(len(values))])
    own, other = torch.randint(len(value_N), (2, PAIRS), generator=torch.Generator().manual_seed(0))
    differs = (labels_N[own] != labels_N[other]) & (value_N[own] != value_N[other])
    own, other = own[differs], other[differs]
    mixed = subspaces_NKD[own].clone()
    mixed[:, model.alpha] = subspaces_NKD[other, model.alpha]
    nearest = torch.cdist(read_colour(mixed), colour_V3).argmin(1)
    return {
        "pairs": len(own),
        "stays_with_the_image": round(float((nearest == value_N[own]).double().mean()), 4),
        "follows_the_principal_subspace": round(float((nearest == value_N[other]).double().mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("factor")
    parser.add_argument("--rows", type=int, nargs=2, default=[0, 8])
    arguments = parser.parse_args()
    folder, shards = arguments.run / "disentangle", arguments.run / "shards"
    device, manifest = torch.device("cpu"), read_manifest(shards)
    config = load_config(folder / "config.yaml", is_frozen=True)
    split, model = load_split(shards, "train", config.data, device), load_disentangler(folder, device)
    column = list(manifest.factors).index(arguments.factor)
    found = {"factor": arguments.factor, **exchange_principal(model, split, column, slice(*arguments.rows))}
    print(json.dumps(found | {"commit": json.loads((folder / "record.json").read_text())["commit"]}, indent=1))


if __name__ == "__main__":
    main()
