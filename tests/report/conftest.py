"""A run folder made by hand: small arrays, plausible numbers, every file the report reads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from paper_runs import change_json
from playwright.sync_api import sync_playwright

from detaux.config import Config, dump_config
from detaux.config.schema import ReportConfig
from detaux.data.schema import BlockEntry, Manifest, Shard, write_manifest
from detaux.report import figures
from detaux.report.build import build_report
from detaux.runtime.files import write_json

SUBSPACES, CLUSTERS, SIDE, SAMPLES = 6, 4, 32, 2700
FACTORS = ("floor_hue", "wall_hue", "shape")
VERSIONS = {"python": "3.12.1", "detaux": "0.1.0", "torch": "2.14.1", "numpy": "2.4.6"}


def draw_scene(floor: int, wall: int, size: int) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: a wall, a floor and a square on it."""
    hues = np.array([[200, 60, 50], [60, 140, 70], [60, 90, 190], [200, 160, 50], [140, 70, 160]], np.uint8)
    scene = np.empty((SIDE, SIDE, 3), np.uint8)
    scene[:20], scene[20:] = hues[wall] // 2 + 100, hues[floor]
    scene[26 - size : 26, 16 - size // 2 : 16 + size // 2] = (240, 240, 235)
    return scene


def make_candidate(
    index: int, subspaces: list[int], clusters: int, separation: float, **changes: Any
) -> dict[str, Any]:
    scores = {
        "distance": 0.02 * (index + 1),
        "dot": 0.1 * index,
        "invariance": 0.05 + 0.1 * index,
        "spread": 0.4,
        "oracle_share": 0.15,
        "silhouette": separation / 1.5,
        "separation": separation,
        "stability": 0.98,
        "validity": separation / 2,
        "principal_ami": 0.001,
    }
    factors = {
        name: {"homogeneity": value, "completeness": value, "v_measure": value, "ami": value}
        for name, value in zip(FACTORS, np.roll([0.997, 0.02, 0.11], index).round(3).tolist(), strict=True)
    }
    candidate = {
        "index": index,
        "subspaces": subspaces,
        "clusters": clusters,
        "noise_share": 0.031,
        "eligible": True,
        "fault": None,
        "scores": scores,
        "principal": {"nmi": 0.0042, "ami": 0.0013, "chi2_p": 0.413, "cramers_v": 0.036},
        "factors": factors,
    }
    return {**candidate, **changes}


ONE_CLUSTER = {"code": "with_one_cluster", "text": "one cluster"}


def make_discovery() -> dict[str, Any]:
    none_eligible = {
        "eligible": False,
        "fault": {"code": "with_too_many_outliers", "text": "42.0% outliers, more than discover.max_outlier_fraction"},
        "noise_share": 0.42,
    }
    return {
        "chosen": 0,
        "rule": {
            "name": "separation",
            "score": "separation",
            "better": "higher",
            "meaning": "silhouette x ln(clusters) x (1 - outlier fraction) x ((1 + validity) / 2)^2",
        },
        "tasks": [0],
        "ranking": [0, 1],
        "free_subspaces": SUBSPACES - 1,
        "live_subspaces": SUBSPACES - 2,
        "candidates": [
            make_candidate(0, [2, 4], CLUSTERS, 1.31),
            make_candidate(1, [1], 5, 0.92),
            make_candidate(2, [3], 2, 0.21, **none_eligible),
            make_candidate(3, [5], 1, 0.0, eligible=False, fault=ONE_CLUSTER),
        ],
        "baselines": [
            make_candidate(4, [], 7, 0.55, name="latents"),
            make_candidate(5, [], 9, 0.48, name="latents_within_class"),
        ],
        "pairs": {
            "rule": "mined",
            "uses_ground_truth": False,
            "changes_many_factors": False,
            "one_factor_share": 0.96,
        },
        "principal_subspace": make_candidate(
            0,
            [0],
            4,
            1.2,
            principal={"nmi": 0.991, "ami": 0.99, "chi2_p": 0.0, "cramers_v": 0.995},
            eligible=False,
            fault={"code": "principal", "text": "carries the principal task"},
        ),
        "sources": ["subspace"],
        "clusterer": "hdbscan",
        "seconds": 3.2,
        "samples": SAMPLES,
    }


def make_metrics() -> list[dict[str, Any]]:
    lines = []
    for step in range(100, 5600, 100):
        t = step / 5500
        line = {
            "step": step,
            "phase": "warmup" if step <= 3000 else "main",
            "progress": t,
            "lr": 1e-3,
            "seconds": step / 60,
        }
        line |= {"loss/reconstruction": 0.1 * np.exp(-6 * t) + 0.002, "beta/1": 0.0, "beta/2": 0.0, "beta/3": 0.0}
        if line["phase"] == "main":
            share = np.full(SUBSPACES, 0.8 / (SUBSPACES - 1))
            share[0] = 0.2
            share[2:] += 0.05 * np.sin(8 * t + np.arange(SUBSPACES - 2))
            line |= {"loss/distance": 0.5 * np.exp(-2 * t), "loss/sparsity": 0.8 - 0.3 * t, "loss/consistency": 0.02}
            line |= {"loss/principal_contrast": 0.4 * np.exp(-3 * t), "oracle/share": share.tolist()}
            line |= {"pairs/one_factor_share": 0.96, "pairs/different_share": 0.2}
            line |= {"beta/1": min(np.exp(25 * (t - 0.6)), 1), "beta/2": min(np.exp(25 * (t - 0.7)), 1)}
        line["loss/total"] = sum(value for name, value in line.items() if name.startswith("loss/"))
        lines.append(line)
    return lines


def make_summary(
    method: str, labels: str, weight: float, accuracy: float, gain: float, width: float
) -> list[dict[str, Any]]:
    return [
        {
            "kind": "stl" if method == "stl" else "control" if labels == "random" else "method",
            "method": method,
            "labels": labels,
            "weight": weight,
            "split": split,
            "seeds": 3,
            "accuracy_mean": accuracy + shift,
            "accuracy_low": accuracy + shift - 0.0213,
            "accuracy_high": accuracy + shift + 0.0213,
            "gain_mean": gain,
            "gain_low": gain - width,
            "gain_high": gain + width,
            "parameters": 1_000.0 if method == "stl" else 1_500.0,
            "steps": 300.0,
            "seconds": 10.0 if method == "stl" else 12.5 + 10 * weight,
            "gain_p": None if method == "stl" else 0.04,
        }
        for split, shift in (("validation", 0.0104), ("test", 0.0))
    ]


def make_multitask() -> dict[str, Any]:
    summary = [
        *make_summary("stl", "none", 0.0, 0.8312, 0.0, 0.0),
        *make_summary("hard_sharing", "discovered", 0.2, 0.8437, 0.0125, 0.0078),
        *make_summary("hard_sharing", "discovered", 1.0, 0.8361, 0.0049, 0.0153),
        *make_summary("hard_sharing", "random", 0.2, 0.8289, -0.0023, 0.0091),
        *make_summary("hard_sharing", "random", 1.0, 0.8174, -0.0138, 0.0102),
        *make_summary("selected", "discovered", 0.2, 0.8437, 0.0125, 0.0078),
    ]
    facts = {"train_images": 2700, "labelled_images": 270, "validation_images": 300, "test_images": 1000, "classes": 4}
    chosen = {"method": "hard_sharing", "labels": "discovered", "weight": 0.2, "by": "mean validation accuracy"}
    return {"rows": [], "summary": summary, "chosen": chosen, "facts": {**facts, "aux_classes": 5}}


def make_curves() -> list[dict[str, Any]]:
    """Two seeds of STL at chance, and of hard sharing, which leaves it."""
    settings = [("stl", "none", 0.0, (25, 25, 25)), ("hard_sharing", "discovered", 0.2, (25, 50, 75))]
    return [
        {"method": method, "labels": labels, "weight": weight, "curve": [{"accuracy": value / 100} for value in values]}
        for method, labels, weight, means in settings
        for values in (means, [value + 10 for value in means])
    ]


def make_gallery() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLUSTERS + 1), 10)
    examples = np.stack([draw_scene(label % 5, random.integers(5), 2 * random.integers(3, 9)) for label in labels])
    rows = [
        np.stack([draw_scene((row + (step > 4)) % 5, row % 5, 6 + 2 * (row % 4)) for step in range(9)])
        for row in range(SUBSPACES - 1)
    ]
    points = np.repeat(np.arange(CLUSTERS + 1), 60)
    centres = random.normal(size=(CLUSTERS + 1, 3)) * 3
    spread = np.where(points == CLUSTERS, 2.5, 0.35)[:, None]
    return {
        "traversal": np.stack(rows),
        "traversal_subspaces": np.array([0, 2, 1, 3, 5]),
        "traversal_groups": np.array(["0", "2 + 4", "1", "3", "5"]),
        "examples": examples,
        "example_labels": labels,
        "pca_subspace": (centres[points] + spread * random.normal(size=(len(points), 3))).astype(np.float32),
        "pca_subspace_labels": points,
        "pca_encoder": random.normal(size=(len(points), 3)).astype(np.float32),
        "pca_encoder_labels": random.integers(0, 8, len(points)),
    }


def make_manifest() -> Manifest:
    shards = [
        Shard(f"{split}-000000.tar", split, count, 1024, "0" * 64, [BlockEntry(0, 1024, count)])
        for split, count in (("train", SAMPLES), ("validation", 300), ("test", 1000))
    ]
    return Manifest(
        dataset="shapes3d",
        layout="packed",
        side=SIDE,
        channels=3,
        classes=["small", "medium", "large", "huge"],
        principal="scale",
        factors=dict.fromkeys(FACTORS, 5),
        split={"rule": "combination", "test_fraction": 0.25, "seed": 0},
        shards=shards,
        quarantined=[{"file": "broken.jpg", "reason": "image file is truncated"}],
    )


def write_run(folder: Path) -> Path:
    """Write a whole run with a task found; returns `folder`."""
    for stage, seconds in (("shards", 2.1), ("disentangle", 210.4), ("discover", 14.0), ("multitask", 95.5)):
        path = folder / stage
        path.mkdir(parents=True)
        dump_config(Config(), path / "config.yaml")
        record = {"stage": stage, "seconds": seconds, "finished": "2026-11-24T12:00:00Z", "commit": "5b1f" * 10}
        write_json(path / "record.json", {**record, "versions": VERSIONS, "machine": {"platform": "Linux-x86_64"}})
    write_manifest(folder / "shards", make_manifest())
    lines = "".join(json.dumps(line) + "\n" for line in make_metrics())
    (folder / "disentangle" / "metrics.jsonl").write_text(lines, encoding="utf-8")
    shares = np.linspace(0.01, 0.9, SUBSPACES * len(FACTORS)).reshape(SUBSPACES, -1).tolist()
    dci = {"disentanglement": 0.81, "completeness": 0.77, "informativeness": 0.93}
    write_json(
        folder / "disentangle" / "scores.json",
        {"factors": list(FACTORS), "variance_share": shares, "dci": dci, "mig": 0.42},
    )
    write_json(folder / "discover" / "discovery.json", make_discovery())
    np.savez_compressed(folder / "discover" / "gallery.npz", **make_gallery())
    labels = np.repeat(np.arange(CLUSTERS + 1), [700, 660, 640, 616, 84])
    table = pyarrow.table({"key": [f"{place:06d}" for place in range(SAMPLES)], "aux_0": labels})
    pyarrow.parquet.write_table(table, folder / "discover" / "labels.parquet")
    write_json(folder / "multitask" / "metrics.json", make_multitask())
    lines = "".join(json.dumps(line) + "\n" for line in make_curves())
    (folder / "multitask" / "curves.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[dict[str, Any]], Any]], None]:
    return change_json


@pytest.fixture(scope="session")
def written_run(tmp_path_factory) -> Path:
    """A whole run, to be copied."""
    return write_run(tmp_path_factory.mktemp("run") / "demo")


@pytest.fixture
def run_folder(written_run, tmp_path) -> Path:
    return shutil.copytree(written_run, tmp_path / "demo")


@pytest.fixture
def unrendered(monkeypatch) -> None:
    """Charts are made, and neither SVG nor PNG of them: for tests of the words, tables and pictures around them."""
    monkeypatch.setattr(figures, "render", lambda figure, key, alt: (f'<svg role="img" id="{key}"></svg>', b""))


@pytest.fixture(scope="session")
def found_page(written_run, tmp_path_factory) -> Path:
    """The page of a run that found a task; tests only read it."""
    folder = shutil.copytree(written_run, tmp_path_factory.mktemp("found") / "demo")
    return build_report([folder], folder / "report", ReportConfig())


@pytest.fixture(scope="session")
def nothing_page(written_run, tmp_path_factory) -> Path:
    """The page of a run in which discovery found nothing and multitask has not run."""
    folder = shutil.copytree(written_run, tmp_path_factory.mktemp("nothing") / "demo")

    def empty(discovery: dict[str, Any]) -> None:
        discovery.update(chosen=-1, tasks=[])
        for candidate in discovery["candidates"]:
            candidate.update(eligible=False, fault=ONE_CLUSTER, clusters=1)

    change_json(folder / "discover" / "discovery.json", empty)
    shutil.rmtree(folder / "multitask")
    (folder / "discover" / "gallery.npz").unlink()
    (folder / "discover" / "labels.parquet").unlink()
    return build_report([folder], folder / "report", ReportConfig())


@pytest.fixture(scope="session")
def comparison_page(written_run, tmp_path_factory) -> Path:
    """The page of two runs, the second an upper bound by one-factor pairs."""
    parent = tmp_path_factory.mktemp("comparison")
    first, second = (shutil.copytree(written_run, parent / name) for name in ("mined", "bound"))
    pairs = {"rule": "one_factor", "uses_ground_truth": True, "one_factor_share": 1.0}
    change_json(second / "discover" / "discovery.json", lambda discovery: discovery.update(pairs=pairs))
    config = ReportConfig(title="Two runs", published=["table1", "table3"])
    return build_report([first, second], parent / "report", config)


TRIALS = [  # name, margin, encoder, objective, step, status, V
    ("a1", 0.5, "patch_conv", 0.8, 60, "finished", 0.9),
    ("b2", None, "simple_conv", 0.4, 60, "finished", 0.5),
    ("c3", 2.0, "patch_conv", 0.6, 20, "stopped", 0.7),
    ("d4", 0.1, "patch_conv", None, 0, "failed", None),
]


def write_sweep(folder: Path) -> Path:
    """The files of a finished sweep over a margin, of one encoder alone, and that encoder."""
    folder.mkdir()
    when = {"when": {"model.encoder": "patch_conv"}}
    space = {
        "losses.distance.margin": {"log": [0.1, 10.0], **when},
        "model.encoder": {"choice": ["patch_conv", "simple_conv"]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({"sweep": {"space": space}}))
    names = ("trial", *space, "objective", "step", "status", "scored_after_v_measure")
    rows = [dict(zip(names, row, strict=True)) for row in TRIALS]
    rows = [{**row, "seconds": 7.4, "attempts": 1, "error": None, "scored_after_factor": "hue"} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "trials.parquet")
    summary = {
        "objective": "discovery",
        "tradeoffs": [],
        "importance": {},
        "uses_ground_truth": False,
        "best": "a1",
        "best_objective": 0.8,
        "has_task": True,
        "trials": {"finished": 2, "stopped": 1, "failed": 1},
        "steps": 300,
        "full_grid_steps": 400,
        "scored_after_rank_correlation": 1.0,
        "scored_after_trials": 3,
    }
    (folder / "sweep.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def sweep_folder(tmp_path) -> Path:
    """A finished sweep that a test may change."""
    return write_sweep(tmp_path / "trials")


@pytest.fixture(scope="session")
def sweep_page(tmp_path_factory) -> Path:
    """The page of a sweep; tests only read it."""
    folder = write_sweep(tmp_path_factory.mktemp("sweep") / "trials")
    return build_report([folder], folder / "report", ReportConfig())


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for found in map(shutil.which, names) if found), None)
    if path is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(names)} is on the PATH")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()
