"""Build the report: read the runs, draw the charts, fill the page's template, and write the files."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import yaml

from detaux.config.schema import Config, ReportConfig
from detaux.errors import UserError
from detaux.report.accuracy import build_accuracy, build_methods, describe_costs
from detaux.report.choice import build_choice, build_factors, describe_choice
from detaux.report.collect import Run, load_runs
from detaux.report.figures import draw_charts, list_charts
from detaux.report.files import LIST_MARK, write_files
from detaux.report.images import build_clusters, build_traversal, list_pictures
from detaux.report.paper_tables import build_published
from detaux.report.passing import build_continua, build_passing
from detaux.report.sentences import (
    advise,
    describe_edited_variants,
    describe_effect,
    describe_factor,
    describe_found,
    describe_ground_truth,
    describe_missing,
    describe_recombination,
    describe_relation,
    describe_rule,
    describe_scarcity,
    describe_stale_discovery,
    describe_unmeasured,
)
from detaux.report.sweep import build_sweep, is_sweep
from detaux.report.table import Table, list_table
from detaux.report.tables import (
    build_candidates,
    build_comparison,
    build_relations,
    build_settings,
    build_stages,
    build_variance,
    mark_bound,
)
from detaux.report.tiles import build_tiles

TABLES: dict[str, Callable[[Run], Table | None]] = {
    "choice": build_choice,
    "candidates": build_candidates,
    "relations": build_relations,
    "factors": build_factors,
    "variance": build_variance,
    "methods": build_methods,
    "accuracy": build_accuracy,
}
FINDINGS = (
    *(describe_relation, describe_factor, describe_effect, describe_missing),
    *(describe_edited_variants, describe_scarcity, describe_recombination),
)


def _dump_configs(run: Run) -> list[tuple[str, str]]:
    """Return (stages, YAML) for each distinct frozen config of the run."""
    texts = [
        (yaml.safe_dump(config, sort_keys=False, allow_unicode=True), stage) for stage, config in run.configs.items()
    ]
    groups: dict[str, list[str]] = {}
    for text, stage in texts:
        groups.setdefault(text, []).append(stage)
    return [(", ".join(stages), text) for text, stages in groups.items()]


def _collect_versions(run: Run) -> dict[str, str]:
    """Return package -> version, with several versions if the stages ran with different ones."""
    names = dict.fromkeys(itertools.chain.from_iterable(record.get("versions", {}) for record in run.records.values()))
    return {
        name: ", ".join(
            dict.fromkeys(
                record["versions"][name] for record in run.records.values() if name in record.get("versions", {})
            )
        )
        for name in names
    }


def _build_section(run: Run, config: ReportConfig) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return everything that the template shows of one run, and its tables and figures as files."""
    charts, cards = draw_charts(run), build_clusters(run, config.examples)
    built = {name: build(run) for name, build in TABLES.items()}
    tables = {name: mark_bound(run, table) for name, table in built.items() if table is not None}
    files = list_charts(charts, run.key) | list_pictures(run, cards)
    passing = build_passing(run)
    for table in [*tables.values(), *(one.classes for one in passing)]:
        files |= list_table(table, run.key)
    section = {
        "run": run,
        "tiles": build_tiles(run),
        "found": describe_found(run),
        "stale": describe_stale_discovery(run),
        "findings": [describe(run) for describe in FINDINGS if describe(run)],
        "ground_truth": describe_ground_truth(run),
        "rule": describe_rule(run),
        "choice": describe_choice(run),
        "unmeasured": describe_unmeasured(run),
        "costs": describe_costs(run),
        "advice": advise(run) if run.chosen is None else [],
        "cards": cards,
        "passing": passing,
        "continua": build_continua(run),
        "traversal": build_traversal(run),
        "charts": charts,
        "tables": {**tables, "stages": build_stages(run), "settings": build_settings(run)},
        "configs": _dump_configs(run),
        "versions": _collect_versions(run),
    }
    return section, files


def report_run(config: Config, folder: Path) -> None:
    """Make the report of the run that contains `folder`, which is the last stage of the chain."""
    build_report([folder.parent], folder, config.report)


def build_report(runs: list[Path], folder: Path, config: ReportConfig) -> Path:
    """Write FOLDER/report.html with tables/ and figures/ next to it, and return the page's path.

    One run gives one section. Several runs give a comparison first. The folder of a sweep gives its trials. The tables
    of the paper that `config.published` names come before the runs.

    Raises UserError if a run folder has no discovery, if a sweep is given together with other folders, or if `folder`
    holds files of the same names that no report made.
    """
    sweeps = [run for run in runs if is_sweep(run)]
    if sweeps and len(runs) > 1:
        raise UserError(f"{sweeps[0]} is the folder of a sweep, which has a page of its own; give it by itself.")
    sweep = build_sweep(sweeps[0]) if sweeps else None
    files = list_table(sweep["table"], "") | list_charts(sweep["charts"], "") if sweep else {}
    loaded = [] if sweep else load_runs(runs)
    sections = []
    for section, beside in (_build_section(run, config) for run in loaded):
        sections.append(section)
        files |= beside
    comparison = build_comparison(loaded) if len(loaded) > 1 else None
    if comparison is not None:
        files |= list_table(comparison, "")
    published = build_published(config.published, loaded)
    for table in (table for one in published for table in one["tables"]):
        files |= list_table(table, "")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("detaux.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = jinja2.PackageLoader("detaux.report", ".").get_source(environment, "style.css")[0]
    page = environment.get_template("page.html").render(
        title=config.title,
        sections=sections,
        comparison=comparison,
        published=published,
        sweep=sweep,
        style=style,
        list_mark=LIST_MARK,
        files=sorted(files),
    )
    return write_files(folder, page, files)
