"""Build a page of W&B with the panels of a run, for `detaux watch --workspace`.

Nothing here imports torch. W&B's packages are imported inside the functions that use them.
"""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from detaux.artefacts import CONFIG_NAME
from detaux.config import Config, load_config
from detaux.errors import UserError
from detaux.stages import STAGES
from detaux.tracking.panels import MATRIX_COLUMNS, Panel, list_panels
from detaux.tracking.wandb import has_key, name_group

MATRIX_CHART = "wandb/confusion_matrix/v1"


def save_workspace(run: Path) -> str:
    """Make the page of a run at W&B and return its address.

    Raises UserError if the run has no config yet, or if the package, the key or the server is missing.
    """
    config = read_run_config(run)
    if find_spec("wandb_workspaces") is None:
        raise UserError("--workspace needs the Python package wandb-workspaces; run `pip install 'detaux[wandb]'`.")
    if not has_key():
        raise UserError("--workspace finds no W&B key, and the page is made on W&B's server; run `wandb login` first.")
    import wandb

    try:
        entity = os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        return build_workspace(config, entity or "").save().url
    except Exception as error:  # W&B raises many kinds of errors if a network or a permission is missing
        raise UserError(f"--workspace: W&B could not make the page: {str(error).rstrip('.')}.") from None


def read_run_config(run: Path) -> Config:
    """Load the newest config that a stage of a run has left, even while it runs. Raises UserError if there is none."""
    found = [path for stage in STAGES.values() if stage.inputs for path in (run / stage.name).glob(f"**/{CONFIG_NAME}")]
    paths = [path for path in found if "wandb" not in path.relative_to(run).parts]  # W&B keeps a file of this name too
    if not paths:
        raise UserError(f"{run} holds no training; give the run.dir of a run that has started.")
    return load_config(max(paths, key=lambda path: path.stat().st_mtime), is_frozen=True)


def build_workspace(config: Config, entity: str) -> Any:
    """Build the wandb_workspaces.Workspace for the runs of a config's group, with a section for each panel heading."""
    from wandb_workspaces import workspaces

    sections: dict[str, list[Any]] = {}
    for title, panel in list_panels(config).items():
        sections.setdefault(panel.section, []).extend(BUILDERS[panel.kind](title, panel))
    group = name_group(config)
    return workspaces.Workspace(
        entity=entity,
        project=config.track.project,
        name=f"Detaux {group}",
        sections=[workspaces.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        runset_settings=workspaces.RunsetSettings(filters=workspaces.And(workspaces.Metric("Group") == group)),
    )


def _build_lines(title: str, panel: Panel) -> list[Any]:
    from wandb_workspaces.reports.v2 import LinePlot

    return [LinePlot(title=title, x="step", y=list(panel.keys))]


def _build_bars(title: str, panel: Panel) -> list[Any]:
    from wandb_workspaces.reports.v2 import BarPlot

    return [BarPlot(title=title, metrics=list(panel.keys))]


def _build_pictures(title: str, panel: Panel) -> list[Any]:
    from wandb_workspaces.reports.v2 import MediaBrowser

    return [MediaBrowser(title=title, media_keys=list(panel.keys))]


def _build_tables(title: str, panel: Panel) -> list[Any]:
    from wandb_workspaces.reports.v2 import WeavePanelSummaryTable

    return [WeavePanelSummaryTable(table_name=key) for key in panel.keys]


def _build_matrices(title: str, panel: Panel) -> list[Any]:
    from wandb_workspaces.reports.v2 import CustomChart

    return [
        CustomChart(
            query={"summaryTable": {"tableKey": key}},
            chart_name=MATRIX_CHART,
            chart_fields={name: name for name in MATRIX_COLUMNS},
            chart_strings={"title": title},
        )
        for key in panel.keys
    ]


BUILDERS: dict[str, Callable[[str, Panel], list[Any]]] = {
    "lines": _build_lines,
    "bars": _build_bars,
    "pictures": _build_pictures,
    "table": _build_tables,
    "matrix": _build_matrices,
}
