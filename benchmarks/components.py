"""Measure whether single components of a conditional code hold a factor that follows the label.

    python benchmarks/components.py RUN FACTOR

FastICA turns the free dimensions in use into components, and each is cut into ten parts with as many images. It prints
as JSON, for the three components that match the factor best, V with the factor, the adjusted mutual information with it
within the principal classes, and V with the label. `nearest` is the share of the images in which the factor differs
from its most frequent value of the class, and five nearest neighbours by the free code still name it. Ground truth is
read only here.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.metrics import v_measure_score
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


def measure_components(codes_NF: np.ndarray, factor_N: np.ndarray, labels_N: np.ndarray) -> list[dict[str, float]]:
    """Return the measures of the components of codes [N, F], those that match the factor best first."""
    inner = np.linspace(0, 1, PARTS + 1)[1:-1]
    sources_NF = FastICA(whiten="unit-variance", random_state=0, max_iter=1000).fit_transform(codes_NF)
    cells = [np.searchsorted(np.quantile(source, inner), source) for source in sources_NF.T]
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
    arguments = parser.parse_args()
    folder, shards = arguments.run / "disentangle", arguments.run / "shards"
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
    print(json.dumps(found | {"commit": json.loads((folder / "record.json").read_text())["commit"]}, indent=1))


if __name__ == "__main__":
    main()
