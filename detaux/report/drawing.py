"""Draw with matplotlib in the report's style: SVG for the page, and PNG for slides.

In the SVG, each colour of the drawing is replaced by a CSS variable, so that one drawing fits light and dark pages.
"""

import io
import re
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT, LINE, PAPER = "#111418", "#7c828a", "#d6dae1", "#fffffe"
SERIES = ("#1f5fa8", "#b35400", "#2a7d3f", "#7b4ba3", "#b3261e", "#00767a", "#8a6a00", "#5a6472")
VARIABLES = {INK: "currentColor", FAINT: "var(--faint)", LINE: "var(--line)", PAPER: "var(--surface)"}
VARIABLES |= {color: f"var(--series-{number})" for number, color in enumerate(SERIES, start=1)}
WIDTH = 4.3  # inches; a phone shows the drawing at almost this size

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "figure.dpi": 150,
}


@dataclass(frozen=True)
class Drawing:
    """Hold one chart: SVG markup for the page, with a text for screen readers, and PNG bytes for other uses."""

    title: str
    caption: str
    svg: str
    png: bytes


def _render_svg(figure: Figure, key: str, alt: str) -> str:
    """Return inline SVG that scales with its container, has unique ids, and loads nothing from outside."""
    stream = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": key}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = svg.replace('href="#', f'href="#{key}-').replace("url(#", f"url(#{key}-")
    svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    head, body = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*pt"', "", head)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return f'{head} role="img" aria-label="{label}">{body}'


def _render_png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(stream, format="png", dpi=150, facecolor="white")
    return stream.getvalue()


def render(figure: Figure, key: str, alt: str) -> tuple[str, bytes]:
    """Return a figure as SVG and as PNG.

    The layout is computed once here. savefig would compute it twice for each format, which takes longer than drawing.
    """
    layout = figure.get_layout_engine()
    if layout is not None:
        with matplotlib.rc_context(STYLE):
            layout.execute(figure)
        figure.set_layout_engine(None)  # None means matplotlib's default, which is no layout engine
    return _render_svg(figure, key, alt), _render_png(figure)


def new_axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y")
    return figure, axes
