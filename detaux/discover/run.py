"""Run the discover stage: embed the training split, cluster, merge, score, choose and write auxiliary labels."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detaux.artefacts import (
    AUTOENCODER_FILE,
    DISCOVERY_NAME,
    GALLERY_NAME,
    HELD_OUT_LABELS,
    LABELS_NAME,
    RECORD_NAME,
)
from detaux.config import Config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.data.labels_file import write_labels
from detaux.data.partners.registry import PARTNER_RULES
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import Split, load_split
from detaux.discover.backends import select_backend
from detaux.discover.candidates.candidate import Candidate, Fault
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import FROM_SUBSPACES
from detaux.discover.candidates.subspace import cluster_subspaces
from detaux.discover.choose import describe_nothing, rank_candidates
from detaux.discover.dependence import count_together
from detaux.discover.gallery import build_gallery
from detaux.discover.held_out import check_held_out, list_key_columns, write_held_out
from detaux.discover.judging_pairs import draw_judging_pairs
from detaux.discover.passing_gallery import build_passing_gallery, list_continua
from detaux.discover.scores import count_live, score_clusters
from detaux.discover.search import Findings, embed_images, search
from detaux.disentangle.embed import Embeddings
from detaux.disentangle.model import Disentangler, load_disentangler
from detaux.disentangle.restarts import list_models, list_restarts
from detaux.errors import NothingFoundError
from detaux.runtime.agreement import run_each, run_first
from detaux.runtime.device import select_device
from detaux.runtime.files import atomic_path, write_json
from detaux.runtime.metrics import read_metrics
from detaux.runtime.progress import say
from detaux.runtime.record import hash_inputs, read_stage_config, write_record
from detaux.stages import MANIFEST

OUTPUTS = (LABELS_NAME, DISCOVERY_NAME, GALLERY_NAME)
ONE_FACTOR_SHARE = "pairs/one_factor_share"


@dataclass(frozen=True)
class Restart:
    """Hold one of the trained disentanglers, its folder, and the embeddings from which candidates are made."""

    folder: Path
    model: Disentangler
    embedded: EmbeddedSplit


def run_discover(config: Config, shards: Path, disentangle: Path, folder: Path) -> None:
    """Search the training split of `shards`, and write labels.parquet, discovery.json and gallery.npz to `folder`.

    After the choice, the networks of cross-prediction label the other splits, in files of their own. Every rank embeds
    its part of the training split, and the first rank does the rest. If no candidate may be chosen, discovery.json and
    gallery.npz are written and NothingFoundError is raised.
    """
    started, device = time.time(), select_device(config.run)
    run_first(lambda: _prepare(config, device, shards, folder))
    split = load_split(shards, "train", config.data, device)
    restarts = _embed_restarts(config, split, disentangle, device)
    run_first(lambda: _find_tasks(config, shards, disentangle, folder, started, split, restarts))


def _prepare(config: Config, device: torch.device, shards: Path, folder: Path) -> None:
    backend = select_backend(config.discover.backend, config.discover.clusterer, device)
    folder.mkdir(parents=True, exist_ok=True)
    # an older run's labels must not pass for this one's
    for name in (RECORD_NAME, *OUTPUTS, *HELD_OUT_LABELS.values()):
        (folder / name).unlink(missing_ok=True)
    check_held_out(shards, config)
    say(f"discover: {config.discover.clusterer} runs on backend {backend.name}: {backend.reason}.")


def _embed_restarts(config: Config, split: Split, disentangle: Path, device: torch.device) -> list[Restart]:
    """Embed the split by the autoencoder and by each disentangler; every rank takes part."""
    # the paper's entangled space (section 5.3) comes from an autoencoder that no label and no pair has shaped; of a
    # conditional code it is what the label does not say
    autoencoder = run_each(lambda: load_disentangler(disentangle, device, AUTOENCODER_FILE))
    latents_ND = autoencoder.select_free(embed_images(autoencoder, split, config).latents_ND)
    labels_N, restarts = split.labels.cpu().numpy(), []
    count = config.model.restarts if set(config.discover.sources) & set(FROM_SUBSPACES) else 1
    for number, place in enumerate(list_restarts(disentangle, count)):
        model = run_each(partial(load_disentangler, place, device))
        embeddings = Embeddings(embed_images(model, split, config).subspaces_NKD, latents_ND)
        restarts.append(Restart(place, model, EmbeddedSplit(embeddings, model.alpha, labels_N, number)))
    return restarts


def _find_tasks(
    config: Config,
    shards: Path,
    disentangle: Path,
    folder: Path,
    started: float,
    split: Split,
    restarts: Sequence[Restart],
) -> None:
    hashes = hash_inputs({MANIFEST.name: shards / MANIFEST.file, **list_models(disentangle, config)})
    manifest, pairs = read_manifest(shards), draw_judging_pairs(split, config)
    findings = search([one.embedded for one in restarts], pairs, split, manifest, config)
    chosen = findings.chosen
    shown = restarts[(chosen.restart or 0) if chosen else 0]  # the source of the pictures and of the principal subspace
    facts = describe_pairs(disentangle)
    discovery = {
        **_describe_choice(findings, shown, config),
        "restarts": len(restarts),
        "disentangle": shown.folder.relative_to(disentangle.parent).as_posix(),
        "pairs": facts,
        "principal_subspace": _describe_principal(shown, split, manifest, config).to_row(None),
        "classes_by_cluster": chosen and _count_classes(chosen, split, manifest),
        "passing": [
            {"index": one, "repeats": same, "classes_by_cluster": _count_classes(findings.pool[one], split, manifest)}
            for one, same in findings.passing.items()
        ],
        **_describe_clustering(findings, split, config),
    }
    gallery = _build_gallery(findings, shown, split, manifest, config.run.seed)
    gallery |= _build_passing_gallery(findings, restarts, split, config.run.seed)
    with atomic_path(folder / GALLERY_NAME) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, **gallery)
    seconds = {"seconds": round(time.time() - started, 3), "samples": len(split.keys)}
    write_json(folder / DISCOVERY_NAME, discovery | seconds)
    if chosen is None:
        raise NothingFoundError(describe_nothing(findings.pool, config.discover, config.disentangle.longer))
    columns, is_upper_bound = _list_columns(findings, split, manifest), facts["uses_ground_truth"]
    write_labels(folder / LABELS_NAME, columns, is_upper_bound=is_upper_bound)
    tasks, device = [findings.pool[task] for task in findings.tasks], split.images.device
    more = write_held_out(tasks, shards, folder, config, device, is_upper_bound=is_upper_bound)
    write_record(folder, "discover", config, hashes, [*OUTPUTS, *more], started, {"chosen": chosen.title})
    relation = f", {chosen.relation} to the principal label" if chosen.relation else ""
    say(f"discover: {chosen.clusters.count} clusters in {chosen.title}{relation}; labels in {folder / LABELS_NAME}")


def _describe_choice(findings: Findings, shown: Restart, config: Config) -> dict[str, Any]:
    """Return what discovery.json says about the candidates and the choice among them."""
    candidates, baselines, tasks = findings.candidates, findings.baselines, findings.tasks
    free, embeddings = shown.embedded.list_free(), shown.embedded.embeddings
    return {
        "chosen": tasks[0] if tasks else -1,
        "rule": CHOICE_RULES[config.discover.choose].to_row(),
        "tasks": tasks,
        "ranking": rank_candidates(findings.pool, config.discover.choose),
        "free_subspaces": len(free),
        "live_subspaces": count_live(embeddings, free, config.discover.min_variance_fraction),
        "candidates": [one.to_row(index) for index, one in enumerate(candidates)],
        "baselines": [one.to_row(index) for index, one in enumerate(baselines, start=len(candidates))],
    }


def _describe_clustering(findings: Findings, split: Split, config: Config) -> dict[str, Any]:
    """Return what discovery.json says about how the candidates were clustered."""
    backend = select_backend(config.discover.backend, config.discover.clusterer, split.images.device)
    return {
        "sources": config.discover.sources,
        "clusterer": config.discover.clusterer,
        "backend": {**backend._asdict(), "ran": findings.baselines[0].clusters.backend},
    }


def _describe_principal(restart: Restart, split: Split, manifest: Manifest, config: Config) -> Candidate:
    """Cluster and score the principal subspace of one disentangler in the same way as the candidates."""
    (principal,) = cluster_subspaces(restart.embedded.embeddings, [restart.embedded.alpha], config)
    score_clusters(principal, split, manifest, config)
    principal.restart, principal.fault = restart.embedded.restart, Fault("principal", "carries the principal task")
    return principal


def _build_gallery(findings: Findings, shown: Restart, split: Split, manifest: Manifest, seed: int) -> dict[str, Any]:
    """Make the pictures of one disentangler's candidates, or of its single subspaces if it has no candidate."""
    embedded = shown.embedded
    found = [one.subspaces for one in findings.candidates if one.subspaces and one.restart == embedded.restart]
    groups = list(dict.fromkeys(found)) or [(index,) for index in embedded.list_free()]
    plain = findings.baselines[0]
    return build_gallery(shown.model, split, embedded.embeddings, groups, findings.chosen, plain, manifest.names, seed)


def _build_passing_gallery(findings: Findings, restarts: Sequence[Restart], split: Split, seed: int) -> dict[str, Any]:
    """Make the pictures of each candidate that passes by its own disentangler, and those of lines and rings."""
    shown = {}
    for index in findings.passing:
        one = findings.pool[index]
        restart = restarts[one.restart or 0]
        shown[index] = (one, (restart.model, restart.embedded.embeddings.subspaces_NKD))
    continua = list_continua(findings.pool, shown)
    return build_passing_gallery(shown, {index: findings.pool[index] for index in continua}, split, seed)


def _list_columns(findings: Findings, split: Split, manifest: Manifest) -> dict[str, Any]:
    """Return the columns of labels.parquet."""
    columns = list_key_columns(split, manifest)
    for number, clusters in enumerate(findings.pool[task].clusters for task in findings.tasks):
        columns |= {f"aux_{number}": clusters.class_labels, f"probability_{number}": clusters.probability}
    return columns


def _count_classes(chosen: Candidate, split: Split, manifest: Manifest) -> dict[str, Any]:
    """Count the images of each principal class in each cluster, outliers last."""
    labels = chosen.clusters.class_labels
    names = [*map(str, range(chosen.clusters.count)), "noise"][: labels.max() + 1]
    counts = count_together(split.labels.cpu().numpy(), labels, len(manifest.classes), len(names))
    return {"classes": manifest.classes, "clusters": names, "counts": counts.tolist()}


def describe_pairs(disentangle: Path) -> dict[str, Any]:
    """Describe how the disentangler's pairs were made, and the last measured share that differs in one known factor.

    The rule is `none` if no phase trained on pairs.
    """
    config = read_stage_config(disentangle)
    if config["disentangle"]["main"]["steps"] == 0:
        return {"rule": "none", "uses_ground_truth": False, "changes_many_factors": False, "one_factor_share": None}
    rule = config["pairs"]["partner"]
    shares = [line[ONE_FACTOR_SHARE] for line in read_metrics(disentangle) if line.get(ONE_FACTOR_SHARE) is not None]
    return {
        "rule": rule,
        "uses_ground_truth": PARTNER_RULES[rule].uses_ground_truth,
        "changes_many_factors": PARTNER_RULES[rule].changes_many_factors,
        "one_factor_share": shares[-1] if shares else None,
    }
