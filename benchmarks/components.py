"""Measure whether single components of a conditional code hold a factor that follows the label.

    python benchmarks/components.py RUN FACTOR [--shards FOLDER]

FastICA turns the free dimensions in use into components, and each is cut into ten parts with as many images. It prints
as JSON, for the three components that match the factor best, V with the factor, the adjusted mutual information with it
within the principal classes, and V with the label. `nearest` is the share of the images in which the factor differs
from its most frequent value of the class, and five nearest neighbours by the free code still name it. If the factor has
two values, `directions` lists the principal classes in which the best component orders them as in most classes, the
other way round, or not at all. Ground truth is read only here.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.metrics import roc_auc_score, v_measure_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from detaux.config import load_config
from detaux.data.augment import to_float
from detaux.data.schema import read_manifest
from detaux.data.split import load_split
from detaux.discover.dependence import compute_ami_within
from detaux.disentangle.independence import LEAST_SPREAD
from detaux.disentangle.model import load_disentangler

PARTS = 10  # of a component
SHOWN = 3
KINDS = ("same", "turned", "none")
ORDERED = 0.9  # least share of pairs of images, one of each value, that the component puts into one order


def separate(codes_NF: np.ndarray) -> np.ndarray:
    """Return the independent components [N, F] of codes [N, F]."""
    return FastICA(whiten="unit-variance", random_state=0, max_iter=1000).fit_transform(codes_NF)


def list_directions(codes_NF: np.ndarray, factor_N: np.ndarray, labels_N: np.ndarray) -> dict[str, list[int]]:
    """Return the labels of the classes in which the component that matches a factor of two values orders them.

    They are `same` as in most classes, `turned`, or `none`. A class with only one value is left out.
    """
    first, _ = np.unique(factor_N)
    classes = [one for one in np.unique(labels_N) if len(np.unique(factor_N[labels_N == one])) == 2]

    def measure_areas(source_N: np.ndarray) -> np.ndarray:
        return np.array(
            [roc_auc_score(factor_N[labels_N == one] != first, source_N[labels_N == one]) for one in classes]
        )

    areas = max((measure_areas(source_N) for source_N in separate(codes_NF).T), key=lambda one: abs(one - 0.5).sum())
    areas = areas if (areas > 0.5).mean() >= 0.5 else 1 - areas
    kinds = np.where(areas >= ORDERED, "same", np.where(areas <= 1 - ORDERED, "turned", "none"))
    return {kind: [int(one) for one, found in zip(classes, kinds, strict=True) if found == kind] for kind in KINDS}


def measure_components(codes_NF: np.ndarray, factor_N: np.ndarray, labels_N: np.ndarray) -> list[dict[str, float]]:
    """Return the measures of the components of codes [N, F], those that match the factor best first."""
    inner = np.linspace(0, 1, PARTS + 1)[1:-1]
    cells = [np.searchsorted(np.quantile(source, inner), source) for source in separate(codes_NF).T]
    rows = [
        {
            "v_factor": round(v_measure_score(factor_N, cell), 3),
            "ami_within_classes": round(compute_ami_within(cell, factor_N, labels_N) or 0.0, 3),
            "v_label": round(v_measure_score(labels_N, cell), 3),
        }
        for cell in cells
    ]
    return sorted(rows, key=lambda row: row["v_factor"], reverse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("factor")
    parser.add_argument("--shards", type=Path, help="the shard set, if it is not in the run's folder")
    arguments = parser.parse_args()
    folder, shards = arguments.run / "disentangle", arguments.shards or arguments.run / "shards"
    device, manifest = torch.device("cpu"), read_manifest(shards)
    config = load_config(folder / "config.yaml", is_frozen=True)
    split, model = load_split(shards, "train", config.data, device), load_disentangler(folder, device)
    factor_N = split.factors[:, list(manifest.factors).index(arguments.factor)].numpy()
    labels_N = split.labels.numpy()
    with torch.no_grad():
        codes_NF = model.select_free(torch.cat([model.encode(to_float(part)) for part in split.images.split(512)]))
    codes_NF = codes_NF.double().numpy()
    codes_NF = codes_NF[:, codes_NF.std(0) > LEAST_SPREAD]
    usual_N = np.array([np.bincount(factor_N[labels_N == label]).argmax() for label in range(labels_N.max() + 1)])
    is_other_N = factor_N != usual_N[labels_N]
    nearest_N = cross_val_predict(KNeighborsClassifier(5), codes_NF, factor_N, cv=5)
    found = {
        "images": len(factor_N),
        "factor differs from its usual value": int(is_other_N.sum()),
        "dimensions": codes_NF.shape[1],
        "components": measure_components(codes_NF, factor_N, labels_N)[:SHOWN],
        "nearest": round(float((nearest_N == factor_N)[is_other_N].mean()), 3),
    }
    if len(np.unique(factor_N)) == 2:
        directions = list_directions(codes_NF, factor_N, labels_N)
        found["directions"] = {kind: [manifest.classes[one] for one in names] for kind, names in directions.items()}
    print(json.dumps(found | {"commit": json.loads((folder / "record.json").read_text())["commit"]}, indent=1))


if __name__ == "__main__":
    main()
