"""The discover stage: embeddings of the training split -> clusters -> merged groups -> scores -> auxiliary labels."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detaux.artefacts import AUTOENCODER_FILE, DISCOVERY_NAME, GALLERY_NAME, LABELS_NAME, MANIFEST_NAME, RECORD_NAME
from detaux.config import Config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.data.labels_file import write_labels
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import Split, load_split
from detaux.discover.backends import select_backend
from detaux.discover.baselines import build_baselines
from detaux.discover.candidate import Candidate, Fault, build_candidates, cluster_subspaces
from detaux.discover.choose import choose_tasks, describe_nothing, find_fault, rank_candidates
from detaux.discover.cluster import complete_labels
from detaux.discover.dependence import count_together
from detaux.discover.embed import Embeddings, embed_split
from detaux.discover.gallery import build_gallery
from detaux.discover.judging_pairs import draw_judging_pairs
from detaux.discover.scores import count_live, score_agreement, score_candidates, score_clusters
from detaux.disentangle.model import Disentangler, load_disentangler
from detaux.disentangle.restarts import list_models, list_restarts
from detaux.errors import NothingFoundError
from detaux.runtime.device import select_device
from detaux.runtime.files import atomic_path, write_json
from detaux.runtime.progress import say, track
from detaux.runtime.ranks import run_each, run_first
from detaux.runtime.record import hash_inputs, read_stage_config, write_record
from detaux.runtime.tracker import read_metrics

OUTPUTS = (LABELS_NAME, DISCOVERY_NAME, GALLERY_NAME)
ONE_FACTOR_SHARE = "pairs/one_factor_share"


@dataclass(frozen=True)
class Restart:
    """One of the trained disentanglers, the folder it lies in, and the embeddings of the split by it."""

    number: int
    folder: Path
    model: Disentangler
    embeddings: Embeddings

    def list_free(self) -> list[int]:
        """Its subspaces but the principal one."""
        return [index for index in range(self.model.num_subspaces) if index != self.model.alpha]


def run_discover(config: Config, shards: Path, disentangle: Path, folder: Path) -> None:
    """Leave labels.parquet, discovery.json and gallery.npz in `folder`, mined on the training split of `shards`.

    Every rank embeds its part of the split, and the first does the rest. Raises NothingFoundError, discovery.json and
    gallery.npz being written, where no candidate may be chosen.
    """
    started, device = time.time(), select_device(config.run)
    run_first(lambda: _prepare(config, device, folder))
    split = load_split(shards, "train", config.data, device)
    embed = partial(
        embed_split,
        images=split.images,
        device=device,
        noise=config.data.noise,
        seed=config.run.seed,
        denoise=config.data.denoise,
    )
    # the entangled space (paper, section 5.3) is that of an autoencoder which no label and no pair has shaped
    autoencoder = run_each(lambda: load_disentangler(disentangle, device, AUTOENCODER_FILE))
    latents_ND = embed(autoencoder).latents_ND
    restarts = []
    count = config.model.restarts if config.discover.source == "subspace" else 1
    for number, place in enumerate(list_restarts(disentangle, count)):
        model = run_each(partial(load_disentangler, place, device))
        subspaces_NKD = embed(model).subspaces_NKD
        restarts.append(Restart(number, place, model, Embeddings(subspaces_NKD, latents_ND)))
    run_first(lambda: _find_tasks(config, shards, disentangle, folder, started, split, restarts))


def _prepare(config: Config, device: torch.device, folder: Path) -> None:
    backend = select_backend(config.discover.backend, config.discover.clusterer, device)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RECORD_NAME, *OUTPUTS):  # an older run's labels must not pass for this one's
        (folder / name).unlink(missing_ok=True)
    say(f"discover: {config.discover.clusterer} runs on backend {backend.name}: {backend.reason}.")


def _find_tasks(
    config: Config,
    shards: Path,
    disentangle: Path,
    folder: Path,
    started: float,
    split: Split,
    restarts: Sequence[Restart],
) -> None:
    hashes = hash_inputs({"manifest": shards / MANIFEST_NAME, **list_models(disentangle, config)})
    manifest, seed, latents_ND = read_manifest(shards), config.run.seed, restarts[0].embeddings.latents_ND
    backend = select_backend(config.discover.backend, config.discover.clusterer, latents_ND.device)
    pairs = draw_judging_pairs(split, config)
    candidates = [one for restart in restarts for one in _find_candidates(restart, pairs, split, config)]
    score_agreement(candidates)
    first = restarts[0]
    labels_N = complete_labels(first.embeddings.subspaces_NKD[:, first.model.alpha], split.labels.cpu().numpy())
    baselines = build_baselines(latents_ND, labels_N, config.discover, seed)
    with track("discover: score", len(candidates) + len(baselines)) as advance:
        for one in [*candidates, *baselines]:
            score_clusters(one, split, manifest, config)
            one.fault = find_fault(one, config.discover)
            advance(note=f"{one.title}: {one.clusters.count} clusters")
    pool = candidates + baselines if config.discover.include_baselines else candidates
    tasks = choose_tasks(pool, config.discover)

    chosen = pool[tasks[0]] if tasks else None
    shown = restarts[chosen.restart if chosen else 0]  # whose subspaces the pictures and the principal subspace are of
    principal = _describe_principal(shown, split, manifest, config)
    facts = describe_pairs(disentangle)
    groups = [one.subspaces for one in candidates if one.subspaces and one.restart == shown.number] or [
        (index,) for index in shown.list_free()
    ]
    gallery = build_gallery(shown.model, split, shown.embeddings, groups, chosen, baselines[0], manifest.names, seed)
    with atomic_path(folder / GALLERY_NAME) as path, path.open("wb") as stream:
        np.savez_compressed(stream, **gallery)
    write_json(
        folder / DISCOVERY_NAME,
        {
            "chosen": tasks[0] if tasks else -1,
            "rule": CHOICE_RULES[config.discover.choose].to_row(),
            "tasks": tasks,
            "ranking": rank_candidates(pool, config.discover.choose),
            "free_subspaces": len(shown.list_free()),
            "live_subspaces": count_live(shown.embeddings, shown.list_free(), config.discover.min_variance_share),
            "candidates": [one.to_row(index) for index, one in enumerate(candidates)],
            "baselines": [one.to_row(index) for index, one in enumerate(baselines, start=len(candidates))],
            "restarts": len(restarts),
            "disentangle": shown.folder.relative_to(disentangle.parent).as_posix(),
            "pairs": facts,
            "principal_subspace": principal.to_row(None),
            "classes_by_cluster": chosen and _count_classes(chosen, split, manifest),
            "source": config.discover.source,
            "clusterer": config.discover.clusterer,
            "backend": {**backend._asdict(), "ran": baselines[0].clusters.backend},
            "seconds": round(time.time() - started, 3),
            "samples": len(split.keys),
        },
    )
    if chosen is None:
        raise NothingFoundError(describe_nothing(pool, config.discover))
    columns: dict[str, Any] = {"key": split.keys}
    if manifest.names:  # for whoever edits the file
        columns["name"] = [manifest.names.get(key, key) for key in split.keys]
    for number, clusters in enumerate(pool[task].clusters for task in tasks):
        columns |= {f"aux_{number}": clusters.class_labels, f"probability_{number}": clusters.probability}
    write_labels(folder / LABELS_NAME, columns, is_upper_bound=facts["uses_ground_truth"])
    write_record(folder, "discover", config, hashes, list(OUTPUTS), started, {"chosen": chosen.title})
    say(f"discover: {chosen.clusters.count} clusters in {chosen.title}; labels in {folder / LABELS_NAME}")


def _find_candidates(
    restart: Restart, pairs: tuple[np.ndarray, np.ndarray], split: Split, config: Config
) -> list[Candidate]:
    """The candidates of one disentangler, scored among each other."""
    candidates = build_candidates(restart.embeddings, restart.list_free(), config)
    score_candidates(candidates, restart.embeddings, pairs, split, config, restart.model.alpha)
    for one in candidates:
        one.restart = restart.number
    return candidates


def _describe_principal(restart: Restart, split: Split, manifest: Manifest, config: Config) -> Candidate:
    """The principal subspace of one disentangler, clustered and scored as the candidates are."""
    (principal,) = cluster_subspaces(restart.embeddings, [restart.model.alpha], config)
    score_clusters(principal, split, manifest, config)
    principal.restart, principal.fault = restart.number, Fault("principal", "carries the principal task")
    return principal


def _count_classes(chosen: Candidate, split: Split, manifest: Manifest) -> dict[str, Any]:
    """How many images of each principal class each cluster holds, noise last."""
    labels = chosen.clusters.class_labels
    names = [*map(str, range(chosen.clusters.count)), "noise"][: labels.max() + 1]
    counts = count_together(split.labels.cpu().numpy(), labels, len(manifest.classes), len(names))
    return {"classes": manifest.classes, "clusters": names, "counts": counts.tolist()}


def describe_pairs(disentangle: Path) -> dict[str, Any]:
    """How the disentangler's pairs were made, and the last measured share of them that differs in one known factor."""
    rule = read_stage_config(disentangle)["pairs"]["partner"]
    shares = [line[ONE_FACTOR_SHARE] for line in read_metrics(disentangle) if line.get(ONE_FACTOR_SHARE) is not None]
    return {
        "rule": rule,
        "uses_ground_truth": rule == "one_factor",
        "one_factor_share": shares[-1] if shares else None,
    }
