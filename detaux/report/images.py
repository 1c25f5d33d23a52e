"""Make the pictures of the page, strips of example images and of traversals, as PNG files and as data URIs."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from detaux.report.collect import Run

GAP = 2  # pixels between two pictures
BUDGET = 900_000  # most raw bytes for all pictures of one kind, to keep the page small
SIDES = (96, 64, 48, 32)  # sides in pixels to shrink a picture to; the first that fits the budget is used
EDGES = 2  # pictures at each end of a traversal row: the image and its reconstruction


@dataclass(frozen=True)
class Picture:
    """Hold a strip of equally large pictures: PNG bytes, size in pixels, and a text for screen readers."""

    png: bytes
    width: int
    height: int
    alt: str

    @property
    def uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


def fit_side(count: int, side: int) -> int:
    """Return the side in pixels at which `count` pictures fit the budget. Small pictures are never enlarged."""
    fitting = [limit for limit in SIDES if 3 * count * limit**2 <= BUDGET]
    return min(side, fitting[0] if fitting else SIDES[-1])


def _to_rgba(picture: np.ndarray, side: int) -> Image.Image:
    flat = picture[..., 0] if picture.shape[-1] == 1 else picture
    image = Image.fromarray(np.ascontiguousarray(flat))
    if side < image.height:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return image.convert("RGBA")


def compose(pictures: np.ndarray, columns: int, side: int, alt: str) -> Picture:
    """Arrange pictures, uint8 [N, H, W, C], in rows of `columns` with transparent gaps."""
    rows = -(-len(pictures) // columns)
    cell = side + GAP
    canvas = Image.new("RGBA", (columns * cell - GAP, rows * cell - GAP), (0, 0, 0, 0))
    for place, picture in enumerate(pictures):
        canvas.paste(_to_rgba(picture, side), (place % columns * cell, place // columns * cell))
    return _encode(canvas, alt)


def _encode(canvas: Image.Image, alt: str) -> Picture:
    stream = io.BytesIO()
    canvas.save(stream, "PNG", optimize=True)
    return Picture(stream.getvalue(), canvas.width, canvas.height, alt)


def compose_ring(pictures: np.ndarray, degrees: np.ndarray, side: int, alt: str) -> Picture:
    """Arrange pictures, uint8 [N, H, W, C], around a circle at their angles, counted from the right against the clock.

    If the angles are equally far apart, no two pictures overlap.
    """
    cell = side + GAP
    radius = cell / (2 * np.sin(np.pi / max(3, len(pictures)))) * np.sqrt(2)
    size = round(2 * radius) + side
    canvas = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    for picture, angle in zip(pictures, np.radians(degrees), strict=True):
        place = round(radius * (1 + float(np.cos(angle)))), round(radius * (1 - float(np.sin(angle))))
        canvas.paste(_to_rgba(picture, side), place)
    return _encode(canvas, alt)


@dataclass(frozen=True)
class ClusterCard:
    title: str
    count: int | None  # training images
    share: float | None
    picture: Picture
    names: list[str]  # of the shown images


def build_clusters(run: Run, examples: int) -> list[ClusterCard]:
    """Build one card per cluster of the chosen task: up to `examples` pictures, and its number of training images."""
    chosen = run.chosen
    if chosen is None or "examples" not in run.gallery:
        return []
    pictures, labels = run.gallery["examples"], run.gallery["example_labels"]
    names = run.gallery.get("example_names", np.empty(0, str))  # an earlier release wrote no names
    total = sum(run.label_counts.values())
    side = fit_side(len(np.unique(labels)) * examples, pictures.shape[1])
    cards = []
    for label in sorted(int(value) for value in np.unique(labels)):
        members = pictures[labels == label][:examples]
        title = "No cluster (noise)" if is_noise(label, chosen["clusters"]) else f"Cluster {label}"
        count = run.label_counts.get(label)
        alt = f"{title}: {len(members)} example image{'' if len(members) == 1 else 's'}"
        picture = compose(members, min(4, len(members)), side, alt)
        share = count / total if count is not None and total else None
        shown = names[labels == label][:examples].tolist() if len(names) else []
        cards.append(ClusterCard(title, count, share, picture, shown))
    return sorted(cards, key=lambda card: card.title == "No cluster (noise)")


def is_noise(label: int, clusters: int) -> bool:
    """Return whether a label is noise: the class above the clusters, or -1, which clusterers use."""
    return label < 0 or label >= clusters


@dataclass(frozen=True)
class TraversalRow:
    title: str  # the subspaces that it moves, for example `2 + 4`
    role: str  # "principal", "chosen" or ""
    first: Picture
    first_rebuilt: Picture
    steps: Picture
    second_rebuilt: Picture
    second: Picture


def build_traversal(run: Run) -> list[TraversalRow]:
    """Build Figure 3 of the paper: each row moves one subspace from the first image's code to the second's."""
    if "traversal" not in run.gallery:
        return []
    grid, subspaces = run.gallery["traversal"], run.gallery["traversal_subspaces"].tolist()
    titles = run.gallery.get("traversal_groups", run.gallery["traversal_subspaces"]).astype(str).tolist()
    chosen = (run.chosen or {}).get("subspaces") or []
    side = fit_side(grid.shape[0] * grid.shape[1], grid.shape[2])
    rows = []
    for index, title, pictures in zip(subspaces, titles, grid, strict=True):
        steps = pictures[EDGES:-EDGES]
        moved = f"{len(steps)} steps in which only subspace {title} moves from the first image to the second"
        rows.append(
            TraversalRow(
                title,
                "principal" if index == 0 else "chosen" if index in chosen else "",
                compose(pictures[:1], 1, side, f"first image of row {title}"),
                compose(pictures[1:2], 1, side, f"its reconstruction, row {title}"),
                compose(steps, len(steps), side, moved),
                compose(pictures[-2:-1], 1, side, f"reconstruction of the second image, row {title}"),
                compose(pictures[-1:], 1, side, f"second image of row {title}"),
            )
        )
    return rows


def list_pictures(run: Run, cards: list[ClusterCard]) -> dict[str, bytes]:
    """Return the pictures as files for slides: figures/cluster-N.png, and figures/traversal.png in full size."""
    files = {f"figures/{run.key}cluster-{number}.png": card.picture.png for number, card in enumerate(cards)}
    if "traversal" in run.gallery:
        grid = run.gallery["traversal"]
        flat = grid.reshape(-1, *grid.shape[2:])
        files[f"figures/{run.key}traversal.png"] = compose(flat, grid.shape[1], grid.shape[2], "").png
    return files
