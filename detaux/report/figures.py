"""Draw the report's charts of a run."""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from detaux.report.accuracy_figures import draw_costs, draw_epochs, draw_intervals
from detaux.report.collect import Run, name_candidate
from detaux.report.drawing import FAINT, INK, SERIES, STYLE, WIDTH, Drawing, new_axes, render
from detaux.report.images import is_noise

# Middle tones: the dots are pixels without CSS variables, so each colour must be visible on white and on near-black.
CLUSTERS = ("#3b7dd8", "#d9730d", "#2f9e5b", "#c0448f", "#8a63d2", "#c94f4f", "#1a9aa0", "#a08020")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1)),
    (0, (3, 1, 1, 1)),
    (0, (1, 1)),
    (0, (7, 3)),
)
POINTS = 3000  # maximum dots in a scatter plot


def _read_series(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and values of the metrics lines that have a number under `name`."""
    found = [(line["step"], line[name]) for line in run.metrics if line.get(name) is not None]
    return np.array([step for step, _ in found]), np.array([value for _, value in found], dtype=float)


def _mark_main_phase(run: Run, axes: Axes, first_step: int) -> None:
    """Draw a dotted line at the end of the warm-up if the chart starts before it."""
    warmup = [line["step"] for line in run.metrics if line["phase"] == "warmup"]
    if warmup and first_step < warmup[-1] < run.metrics[-1]["step"]:
        axes.axvline(warmup[-1], color=FAINT, linestyle=":", linewidth=1.2, label="all terms from here")


def _draw_lines(run: Run, names: list[tuple[str, str]], label: str, height: float, columns: int) -> Figure | None:
    series = [(title, *_read_series(run, name)) for name, title in names]
    series = [one for one in series if len(one[1])]
    if not series:
        return None
    figure, axes = new_axes(height)
    for (title, steps, values), color, dash in zip(series, SERIES, DASHES, strict=False):
        axes.plot(steps, values, color=color, linestyle=dash, label=title, marker="." if len(steps) < 3 else None)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    _mark_main_phase(run, axes, min(int(steps[0]) for _, steps, _ in series))
    figure.legend(loc="outside upper left", ncols=columns, fontsize=8.5)
    return figure


def _draw_losses(run: Run) -> Figure | None:
    names = sorted({name for line in run.metrics for name in line if name.startswith("loss/")})
    names.sort(key=lambda name: name != "loss/total")
    figure = _draw_lines(run, [(name, name.removeprefix("loss/").replace("_", " ")) for name in names], "loss", 3.4, 2)
    if figure is not None:
        figure.axes[0].set_yscale("log", nonpositive="mask")
    return figure


def _draw_betas(run: Run) -> Figure | None:
    names = [
        ("beta/1", "beta 1: distance, sparsity"),
        ("beta/2", "beta 2: consistency"),
        ("beta/3", "beta 3: regularization"),
    ]
    figure = _draw_lines(run, names, "weight", 3.0, 1)
    if figure is not None:
        figure.axes[0].set_ylim(-0.03, 1.08)
    return figure


def _draw_pairs(run: Run) -> Figure | None:
    names = [
        ("pairs/one_factor_share", "differ in exactly one factor (scoring only)"),
        ("pairs/different_share", "differ in the principal label"),
    ]
    figure = _draw_lines(run, names, "share of pairs", 3.0, 1)
    if figure is not None:
        figure.axes[0].set_ylim(-0.03, 1.08)
    return figure


def _draw_oracle(run: Run) -> Figure | None:
    """Draw one line per subspace. Colour, width and a name mark the principal and the chosen subspaces."""
    lines = [line for line in run.metrics if line.get("oracle/share")]
    if not lines:
        return None
    steps, shares = [line["step"] for line in lines], np.array([line["oracle/share"] for line in lines], dtype=float)
    chosen = (run.chosen or {}).get("subspaces") or []
    figure, axes = new_axes(3.2)
    for index, curve in enumerate(shares.T):
        if index != 0 and index not in chosen:
            axes.plot(steps, curve, color=FAINT, linewidth=0.9)
    for index in [0, *(one for one in chosen if one != 0)]:
        color, dash = (SERIES[0], "-") if index == 0 else (SERIES[1], DASHES[1 + chosen.index(index) % 3])
        title = "subspace 0, principal" if index == 0 else f"subspace {index}, chosen"
        axes.plot(steps, shares[:, index], color=color, linestyle=dash, linewidth=2.2, label=title)
    axes.plot([], [], color=FAINT, linewidth=0.9, label="the others")
    axes.axhline(1 / shares.shape[1], color=INK, linestyle=":", linewidth=0.9, label=f"even use, 1/{shares.shape[1]}")
    axes.set_xlabel("step")
    axes.set_ylabel("share of pairs")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside upper left", ncols=2, fontsize=8.5)
    return figure


def _draw_scatter(points: np.ndarray, labels: np.ndarray, clusters: int) -> Figure:
    """Draw a 3-D scatter plot of the first three principal components. Each cluster has a colour and its number."""
    if len(points) > POINTS:
        kept = np.random.default_rng(0).choice(len(points), POINTS, replace=False)
        points, labels = points[kept], labels[kept]
    figure = Figure(figsize=(WIDTH, 3.7))
    axes = figure.add_subplot(projection="3d")
    assert isinstance(axes, Axes3D)
    figure.subplots_adjust(left=0, right=0.94, bottom=0.04, top=1.02)
    for label in np.unique(labels).tolist():
        noise, members = is_noise(label, clusters), points[labels == label]
        axes.scatter(
            *members.T,
            s=4 if noise else 9,
            c="#888888" if noise else CLUSTERS[label % len(CLUSTERS)],
            alpha=0.35 if noise else 0.8,
            linewidths=0,
            depthshade=False,
            rasterized=True,
        )
    for label in np.unique(labels).tolist():
        if not is_noise(label, clusters):
            axes.text(
                *np.median(points[labels == label], axis=0), str(label), fontsize=11, fontweight="bold", zorder=10
            )
    for number, axis in enumerate((axes.xaxis, axes.yaxis, axes.zaxis), start=1):
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(FAINT)
        axis.set_label_text(f"component {number}", fontsize=8.5)
        axis.labelpad = -8
        axis.set_tick_params(labelsize=7, pad=-3, color=FAINT)
    return figure


def _draw_subspace(run: Run) -> Figure | None:
    if run.chosen is None or "pca_subspace" not in run.gallery:
        return None
    return _draw_scatter(run.gallery["pca_subspace"], run.gallery["pca_subspace_labels"], run.chosen["clusters"])


def _draw_encoder(run: Run) -> Figure | None:
    if "pca_encoder" not in run.gallery:
        return None
    latents = next((one for one in run.discovery.get("baselines", []) if one.get("name") == "latents"), None)
    labels = run.gallery["pca_encoder_labels"]
    return _draw_scatter(run.gallery["pca_encoder"], labels, latents["clusters"] if latents else int(labels.max()) + 1)


@dataclass(frozen=True)
class Chart:
    """Describe one chart: how it is drawn, its title, and a caption that says how to read it."""

    draw: Callable[[Run], Figure | None]
    title: str
    caption: str


CHARTS = {
    "pca_subspace": Chart(
        _draw_subspace,
        "The chosen clusters",
        "3-D PCA of the clustered points. Dots are training images; numbers and colours show clusters; grey is noise.",
    ),
    "pca_encoder": Chart(
        _draw_encoder,
        "The entangled space",
        "3-D PCA of the encoder's latents, before any projection. Numbers and colours show the clusters found there.",
    ),
    "accuracy": Chart(
        lambda run: draw_intervals(run, "accuracy", "accuracy, %"),
        "Accuracy",
        "Mean over seeds and 95% interval. A diamond marks the chosen setting; hollow dots are controls.",
    ),
    "gain": Chart(
        lambda run: draw_intervals(run, "gain", "gain over STL, points"),
        "Paired gain over STL",
        "Mean difference from STL at the same seed, with its 95% interval. If it includes zero, no gain is shown.",
    ),
    "cost": Chart(
        draw_costs,
        "Accuracy against cost",
        "Mean accuracy and 95% interval over the seconds of one training. Dashed: STL's accuracy. A ring marks the "
        "chosen setting.",
    ),
    "epochs": Chart(
        draw_epochs,
        "Accuracy by epoch",
        "Mean validation accuracy after each epoch, with the range over seeds. Grey: controls. A method that is still at "
        "the dotted line has learned nothing yet.",
    ),
    "losses": Chart(_draw_losses, "Losses", "The weighted total, and each term before its weight, on a log axis."),
    "betas": Chart(_draw_betas, "Beta schedules", "The weight of each group of loss terms during training."),
    "oracle_share": Chart(_draw_oracle, "Oracle use", "Share of pairs that the oracle assigns to each subspace."),
    "pairs": Chart(
        _draw_pairs,
        "Training pairs",
        "Share of all pairs that differ in the label, and share of the others that differ in one factor.",
    ),
}


def draw_charts(run: Run) -> dict[str, Drawing]:
    """Draw every chart for which the run has data. Return them by name."""
    drawings = {}
    for name, chart in CHARTS.items():
        with matplotlib.rc_context(STYLE):
            figure = chart.draw(run)
        if figure is None:
            continue
        title = (
            f"{chart.title} ({name_candidate(run.chosen)})" if name == "pca_subspace" and run.chosen else chart.title
        )
        alt = f"Chart of run {run.name}. {title}. {chart.caption}"
        drawings[name] = Drawing(title, chart.caption, *render(figure, f"{run.key}{name}", alt))
    return drawings


def list_charts(drawings: dict[str, Drawing], key: str) -> dict[str, bytes]:
    """Return the charts as files of the report: figures/NAME.png."""
    return {f"figures/{key}{name}.png": drawing.png for name, drawing in drawings.items()}
