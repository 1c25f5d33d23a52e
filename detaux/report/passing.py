"""Show every candidate that passes: its clusters, what its code changes, its scores, its shape, and its classes.

Lines and rings that no clusterer divided are shown too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detaux.report.collect import Candidate, Run, name_candidate
from detaux.report.images import Picture, compose, compose_ring, fit_side
from detaux.report.table import Table, number_column, text_column
from detaux.report.tables import mark_bound, mark_task, title_score

UNCHANGED = -1  # label of the row of images that are rebuilt as they are
SCORES = (
    *(
        "recognition",
        "independent_recognition",
        "cross_agreement",
        "cross_reproducibility",
        "cross_undecided",
        "attraction",
    ),
    *("separation", "validity", "stability", "agreement"),
)


@dataclass(frozen=True)
class ClusterRow:
    """Hold a cluster's surest images, and other images with its code. A picture that was not made is None."""

    title: str
    surest: Picture | None
    recombined: Picture | None


@dataclass(frozen=True)
class PassingTask:
    """Hold what the page shows of one candidate."""

    key: str  # part of ids and of names of tables
    title: str
    mark: str
    facts: dict[str, str]
    rows: list[ClusterRow]
    ordered: Picture | None
    classes: Table

    @property
    def has_recombined(self) -> bool:
        return any(row.recombined for row in self.rows)


@dataclass(frozen=True)
class Continuum:
    """Hold a line or ring that is no task."""

    title: str
    text: str
    picture: Picture | None


def build_passing(run: Run) -> list[PassingTask]:
    """Build what the page shows of each candidate that passes; an older run lists none."""
    passing = run.discovery.get("passing", [])
    side = _fit(run, "passing_examples", "recombined")
    return [_build_task(run, entry, side) for entry in passing]


def build_continua(run: Run) -> list[Continuum]:
    """List the lines and rings for which discovery made pictures and that are not shown among the passing ones."""
    shown = {entry["index"] for entry in run.discovery.get("passing", [])}
    indices = dict.fromkeys(run.gallery.get("ordered_of", np.empty(0, int)).tolist())
    return [
        Continuum(name_candidate(one), describe_shape(one["shape"]), _draw_order(run, one))
        for one in (_find(run, index) for index in indices if index not in shown)
    ]


def describe_shape(shape: dict[str, Any] | None) -> str:
    """Say in words what the points look like, with the numbers that decided."""
    if shape is None:
        return "not judged"
    explained = shape.get("explained") or 0.0
    match shape["kind"]:
        case "clusters":
            return f"{shape['parts'] or 'many'} separate values"
        case "line":
            return f"a line: the place along it explains {explained:.0%} of the variance"
        case "ring":
            return (
                f"a ring: the angle explains {explained:.0%} of the variance, the centre holds {shape['hole']:.1%} of the "
                f"images, and the largest gap has {shape['gap']:.0f} degrees"
            )
    return "a cloud without gaps"


def is_continuum(one: Candidate) -> bool:
    """Return whether the points are a line or ring, which has no clusters of its own."""
    return (one.get("shape") or {}).get("kind") in ("line", "ring")


def _find(run: Run, index: int) -> Candidate:
    return next(one for one in run.clusterings if one["kind"] != "principal" and one["index"] == index)


def _fit(run: Run, *names: str) -> int:
    """Return the side to which all pictures of these arrays are shrunk together."""
    arrays = [run.gallery[name] for name in names if name in run.gallery]
    if not arrays:
        return 0
    count = sum(int(np.prod(array.shape[:-3])) for array in arrays)
    return fit_side(count, arrays[0].shape[-3])


def _build_task(run: Run, entry: dict[str, Any], side: int) -> PassingTask:
    one = _find(run, entry["index"])
    title, key = name_candidate(one), f"passing-{entry['index']}"
    return PassingTask(
        key,
        title,
        mark_task(run, one),
        _list_facts(run, one, entry["repeats"]),
        _build_rows(run, one, side),
        _draw_order(run, one),
        mark_bound(run, _count_classes(run, key, title, entry["classes_by_cluster"])),
    )


def _list_facts(run: Run, one: Candidate, repeats: list[int]) -> dict[str, str]:
    principal = one["principal"]
    facts = {
        "Kind": one.get("source", "").replace("_", " ") or "plain baseline",
        "Clusters": f"{one['clusters']}, and {one['noise_share']:.1%} of the images in none",
        "Shape": describe_shape(one.get("shape")) + ("; the clusters cut it" if is_continuum(one) else ""),
    }
    for name in SCORES:
        if one["scores"].get(name) is not None:
            facts[title_score(name)] = f"{one['scores'][name]:.3f}"
    shared = [f"{name.upper()} {principal[name]:.3f}" for name in ("nmi", "ami") if principal.get(name) is not None]
    facts[f"Shared with {run.principal_name}"] = ", ".join(shared) or "not measured"
    if one.get("relation"):
        facts["Relation"] = one["relation"]
    if repeats:
        facts["Found again as"] = "; ".join(name_candidate(_find(run, index)) for index in repeats)
    return facts


def _build_rows(run: Run, one: Candidate, side: int) -> list[ClusterRow]:
    """Build a row for each cluster, after one for the images that get their codes."""
    surest = _select(run, one, "passing_examples", "passing_labels", "passing_of")
    changed = {
        label: pictures[0]
        for label, pictures in _select(run, one, "recombined", "recombined_labels", "recombined_of").items()
    }
    rows = []
    for label in sorted({*surest, *changed}):
        title = "Unchanged" if label == UNCHANGED else f"Cluster {label}"
        ours, others = surest.get(label), changed.get(label)
        kept = f"other images with the code of {title.lower()} in {name_candidate(one)}"
        alt = f"Images rebuilt unchanged, {name_candidate(one)}" if label == UNCHANGED else kept
        rows.append(
            ClusterRow(
                title,
                None
                if ours is None
                else compose(ours, len(ours), side, f"{title} of {name_candidate(one)}: surest images"),
                None if others is None else compose(others, len(others), side, alt),
            )
        )
    return rows


def _select(run: Run, one: Candidate, name: str, labels: str, owners: str) -> dict[int, np.ndarray]:
    """Return label -> pictures of one candidate."""
    if name not in run.gallery:
        return {}
    is_own = run.gallery[owners] == one["index"]
    pictures, found = run.gallery[name][is_own], run.gallery[labels][is_own]
    return {label: pictures[found == label] for label in np.unique(found).tolist()}


def _draw_order(run: Run, one: Candidate) -> Picture | None:
    """Draw images along a line or around a ring; return None if the candidate is neither."""
    shape, owners = one.get("shape"), run.gallery.get("ordered_of")
    if shape is None or owners is None or not (owners == one["index"]).any():
        return None
    pictures, places = (run.gallery[name][owners == one["index"]] for name in ("ordered", "ordered_at"))
    side = _fit(run, "ordered")
    if shape["kind"] == "ring":
        alt = f"{len(pictures)} images around the ring of {name_candidate(one)}, each at its angle"
        return compose_ring(pictures, places, side, alt)
    return compose(pictures, len(pictures), side, f"{len(pictures)} images along the line of {name_candidate(one)}")


def _count_classes(run: Run, key: str, title: str, counted: dict[str, Any]) -> Table:
    names = [f"cluster {name}" if name.isdigit() else "no cluster" for name in counted["clusters"]]
    rows = [
        {"class": label, **dict(zip(names, line, strict=True))}
        for label, line in zip(counted["classes"], counted["counts"], strict=True)
    ]
    columns = [text_column(run.principal_name, "class"), *(number_column(name, name, ",d") for name in names)]
    caption = f"Training images of each class in each cluster of {title}"
    return Table(key, caption, columns, rows, ["class", *names])
