"""Draw the picture of README.md from a finished run: the classes it found, and what each group of subspaces changes.

python benchmarks/readme_picture.py runs/demo [--out docs/picture.png]
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from detaux.errors import UserError
from detaux.report.collect import Run, load_run
from detaux.report.images import EDGES, is_noise

EXAMPLES = 8  # pictures of each class, in two rows
MOST_CLASSES = 6
MOST_ROWS = 4  # groups of subspaces, the principal and the chosen one always among them
DPI = 110


def pick_groups(subspaces: list[int], chosen: list[int]) -> list[int]:
    """Return up to MOST_ROWS traversal rows, in this order: the principal subspace, the chosen ones, the others."""
    order = sorted(
        range(len(subspaces)), key=lambda row: (subspaces[row] != 0, subspaces[row] not in chosen, subspaces[row])
    )
    return order[:MOST_ROWS]


def lay_out(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Place uint8 [N, H, W, C] on a white uint8 [H', W', 3] in rows of `columns`, with gaps of 1/16 of a side."""
    height, width = pictures.shape[1:3]
    gap, rows = find_gap(width), -(-len(pictures) // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def find_gap(side: int) -> int:
    """Return the pixels between two pictures."""
    return max(1, side // 16)


def _draw_classes(figure: Figure, place: SubplotSpec, run: Run) -> None:
    """Draw examples of each class that was found, without noise."""
    pictures, labels = run.gallery["examples"], run.gallery["example_labels"]
    assert run.chosen is not None
    found = [int(label) for label in np.unique(labels) if not is_noise(int(label), run.chosen["clusters"])]
    for column, label in enumerate(found[:MOST_CLASSES]):
        axes = figure.add_subplot(place.subgridspec(1, len(found[:MOST_CLASSES]), wspace=0.08)[column])
        axes.imshow(lay_out(pictures[labels == label][:EXAMPLES], EXAMPLES // 2))
        axes.set_title(f"found class {label}", fontsize=10)
        axes.axis("off")


def _draw_traversal(figure: Figure, place: SubplotSpec, run: Run) -> None:
    """Draw one strip for each group of subspaces: the first image, the steps towards the second, the second image."""
    grid, subspaces = run.gallery["traversal"], run.gallery["traversal_subspaces"].tolist()
    chosen = (run.chosen or {}).get("subspaces") or []
    groups = run.gallery["traversal_groups"].astype(str).tolist()
    rows = pick_groups(subspaces, chosen)
    cells = place.subgridspec(len(rows), 1, hspace=0.12)
    for number, row in enumerate(rows):
        axes = figure.add_subplot(cells[number])
        strip = np.concatenate([grid[row, :-EDGES], grid[row, -1:]])  # without the second image's reconstruction
        axes.imshow(lay_out(strip, len(strip)))
        role = "\n(your task)" if subspaces[row] == 0 else "\n(found task)" if subspaces[row] in chosen else ""
        name = f"subspace{'s' if '+' in groups[row] else ''} {groups[row]}"
        axes.set_ylabel(name + role, rotation=0, ha="right", va="center", fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if number == 0:
            cell = strip.shape[2] + find_gap(strip.shape[2])
            titles = {0: "image A", 1: "A rebuilt", (len(strip) - 1) / 2 + 0.5: "only this subspace moves from A to B"}
            for column, title in (titles | {len(strip) - 1: "image B"}).items():
                axes.text((column + 0.5) * cell, -cell / 16, title, ha="center", va="bottom", fontsize=10)


def draw_picture(run: Run) -> Figure:
    """Return the figure. Raises UserError if the run chose no task, since it then has no classes to show."""
    if run.chosen is None or "examples" not in run.gallery:
        raise UserError(f"{run.name} found no hidden task, so there are no classes to draw; give another run folder.")
    rows = len(pick_groups(run.gallery["traversal_subspaces"].tolist(), run.chosen.get("subspaces") or []))
    height = 1.5 + 0.75 * rows
    figure = Figure(figsize=(9, height), facecolor="white")
    outer = figure.add_gridspec(
        2,
        1,
        height_ratios=[1, 0.72 * rows],
        left=0.02,
        right=0.98,
        top=1 - 0.25 / height,
        bottom=0.01,
        hspace=0.4 / rows,
    )
    _draw_classes(figure, outer[0], run)
    _draw_traversal(figure, outer[1], run)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--out", type=Path, default=Path("docs/picture.png"))
    arguments = parser.parse_args()
    figure = draw_picture(load_run(arguments.run, arguments.run.name))
    figure.savefig(arguments.out, dpi=DPI, metadata={"Software": None})
    print(f"{arguments.out}: {arguments.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
