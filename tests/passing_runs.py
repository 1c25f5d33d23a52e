"""Candidates that pass in a run folder made by hand: their shapes, classes and pictures."""

from typing import Any

import numpy as np

CLUSTERS, SIDE = 4, 32


def draw_scene(floor: int, wall: int, size: int) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: a wall, a floor and a square on it."""
    hues = np.array([[200, 60, 50], [60, 140, 70], [60, 90, 190], [200, 160, 50], [140, 70, 160]], np.uint8)
    scene = np.empty((SIDE, SIDE, 3), np.uint8)
    scene[:20], scene[20:] = hues[wall] // 2 + 100, hues[floor]
    scene[26 - size : 26, 16 - size // 2 : 16 + size // 2] = (240, 240, 235)
    return scene


def make_shape(
    kind: str, parts: int, explained: float | None = None, hole: float | None = None, gap: float | None = None
) -> dict[str, Any]:
    return {"kind": kind, "parts": parts, "explained": explained, "hole": hole, "gap": gap}


def count_classes(clusters: int) -> dict[str, Any]:
    """Four classes in so many clusters, the last of them the outliers: 10 a row plus a column."""
    names = [*map(str, range(clusters - 1)), "noise"]
    counts = [[10 * row + column for column in range(clusters)] for row in range(4)]
    return {"classes": ["small", "medium", "large", "huge"], "clusters": names, "counts": counts}


def make_passing_gallery() -> dict[str, np.ndarray]:
    """Two candidates that pass: three images of each cluster, and two with the code of each; a ring and a line."""
    owners = np.repeat([0, 1], [CLUSTERS, 5])
    labels = np.array([*range(CLUSTERS), *range(5)])
    rows = [(owner, label) for owner, count in ((0, CLUSTERS), (1, 5)) for label in range(-1, count)]
    return {
        "passing_examples": np.stack([draw_scene(label % 5, number, 8) for label in labels for number in range(3)]),
        "passing_labels": np.repeat(labels, 3),
        "passing_of": np.repeat(owners, 3),
        "recombined": np.stack([[draw_scene(label % 5, number, 8) for number in range(2)] for _, label in rows]),
        "recombined_labels": np.array([label for _, label in rows]),
        "recombined_of": np.array([owner for owner, _ in rows]),
        "ordered": np.stack([draw_scene(number % 5, 0, 8) for _ in (1, 3) for number in range(8)]),
        "ordered_at": np.concatenate([45.0 * np.arange(8), np.linspace(0, 1, 8)]).astype(np.float32),
        "ordered_of": np.repeat([1, 3], 8),
    }
