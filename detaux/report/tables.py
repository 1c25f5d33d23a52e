"""Build the tables of the report."""

import json
from dataclasses import replace
from typing import Any

from detaux.config.load import get_value, iterate_fields
from detaux.config.schema import Config
from detaux.report.collect import Candidate, Run, name_candidate
from detaux.report.effect import find_choice, find_effect, find_split, judge_effect
from detaux.report.sentences import format_interval, format_p, format_points, name_method_of
from detaux.report.table import NONE, Column, Row, Table, number_column, text_column

SCORE_TITLES = {
    "distance": "Distance loss",
    "dot": "|mean dot|",
    "invariance": "Invariance",
    "spread": "Spread",
    "oracle_share": "Oracle share",
    "silhouette": "Silhouette",
    "separation": "Separation",
    "stability": "Stability",
    "validity": "Validity",
    "agreement": "Agreement",
    "cross_agreement": "Cross-predicted agreement",
    "cross_reproducibility": "Cross-predicted reproducibility",
    "cross_undecided": "Undecided share",
    "recognition": "Recognition",
    "independent_recognition": "Recognition x independence",
    "attraction": "Attraction of the borders",
}


def title_score(name: str) -> str:
    """Return the heading of a score's column."""
    return SCORE_TITLES.get(name, name.replace("_", " "))


def show_p(p: float | None) -> str:
    """Return a p-value for a column of p-values, without "p =" in front."""
    return NONE if p is None else format_p(p).removeprefix("p ").removeprefix("= ")


def mark_task(run: Run, candidate: Candidate) -> str:
    """Return "chosen" for the first task, "task 2" and so on for others that were written, and "" for the rest."""
    if candidate["is_chosen"]:
        return "chosen"
    tasks = run.discovery.get("tasks", [])
    if candidate["kind"] != "principal" and candidate["index"] in tasks:
        return f"task {tasks.index(candidate['index']) + 1}"
    return ""


def _explain(candidate: Candidate) -> str:
    """Say why a clustering was not chosen. Return "" for the chosen one."""
    if candidate["is_chosen"]:
        return ""
    if candidate["fault"]:
        return str(candidate["fault"]["text"])
    return "shown for comparison" if candidate["kind"] == "baseline" else "eligible, ranks lower by the rule"


def mark_bound(run: Run, table: Table) -> Table:
    """Mark a table as an upper bound, in its caption and a CSV column, if ground truth entered training."""
    if not run.is_upper_bound:
        return table
    rows = [{**row, "upper_bound": "true"} for row in table.rows]
    caption = f"{table.caption} (upper bound: pairs used ground truth)"
    return replace(table, caption=caption, rows=rows, fields=[*table.fields, "upper_bound"])


def build_candidates(run: Run) -> Table:
    """List every clustering with its scores, and why it was not chosen."""
    scores = list(dict.fromkeys(name for one in run.clusterings for name in one.get("scores") or {}))
    ruling = run.discovery["rule"]["score"]
    rows = []
    for one in run.clusterings:
        rows.append(
            {
                "clustering": name_candidate(one),
                "mark": mark_task(run, one),
                "kind": one["kind"],
                "clusters": one.get("clusters"),
                "noise_share": one.get("noise_share"),
                "why_not": _explain(one),
                **(one.get("scores") or {}),
                **{f"principal_{name}": value for name, value in (one.get("principal") or {}).items()},
            }
        )

    columns = [
        text_column("Clustering", "clustering"),
        text_column("Why not chosen", "why_not"),
        number_column("Clusters", "clusters", "d"),
        number_column("Noise %" + (" (rule)" if ruling == "noise_share" else ""), "noise_share", ".1f", 100),
    ]
    columns += [
        number_column(title_score(name) + (" (rule)" if name == ruling else ""), name)
        for name in sorted(scores, key=lambda name: name != ruling)
        if name != "principal_ami"
    ]
    fields = list(dict.fromkeys(name for row in rows for name in row))
    return Table("candidates", "Every candidate and its scores", columns, rows, fields)


def build_relations(run: Run) -> Table:
    """Show how every clustering relates to the principal label, and to every known factor if there are any."""
    names = list(dict.fromkeys(name for one in run.clusterings for name in one.get("factors") or {}))
    rows = [
        {
            "clustering": name_candidate(one),
            "mark": mark_task(run, one),
            **(one.get("principal") or {}),
            "relation": one.get("relation"),
            **{f"v {name}": (one.get("factors") or {}).get(name, {}).get("v_measure") for name in names},
        }
        for one in run.clusterings
    ]

    columns = [
        text_column("Clustering", "clustering"),
        number_column(f"NMI with {run.principal_name}", "nmi"),
        number_column(f"AMI with {run.principal_name}", "ami"),
        Column("Chi-squared p", lambda row: show_p(row.get("chi2_p"))),
        number_column("Cramér's V", "cramers_v"),
        number_column("Unexplained %", "unexplained", ".1f", 100),
        text_column("Relation", "relation"),
    ]
    columns += [number_column(f"V-measure, {name.replace('_', ' ')} (scoring only)", f"v {name}") for name in names]
    measures = ("nmi", "ami", "chi2_p", "cramers_v", "unexplained", "relation")
    fields = ["clustering", "mark", *measures, *(f"v {name}" for name in names)]
    known = " and to the known factors, which no choice rule uses" if names else ""
    return Table("relations", f"Relation to the principal label{known}", columns, rows, fields)


def build_variance(run: Run) -> Table | None:
    """Show the share of each subspace's variance that each known factor explains; return None if no factor is known."""
    scores = run.factor_scores
    if not scores:
        return None
    rows = [
        {
            "subspace": f"subspace {index}",
            "mark": "principal" if index == 0 else "",
            **dict(zip(scores["factors"], shares, strict=True)),
        }
        for index, shares in enumerate(scores["variance_share"])
    ]
    columns = [text_column("Subspace", "subspace")]
    columns += [number_column(name.replace("_", " "), name) for name in scores["factors"]]
    caption = "Share of each subspace's variance that each known factor explains (scoring only)"
    return Table("variance", caption, columns, rows, ["subspace", *scores["factors"]])


def build_comparison(runs: list[Run]) -> Table:
    """Compare runs, one per row: data, pair and choice rules, chosen clusters, the factor they match, and the gain."""
    rows = []
    for run in runs:
        chosen, best = run.chosen, run.best_factor
        effect = find_effect(run.multitask) if run.multitask else None
        choice = find_choice(run.multitask, find_split(run.multitask)) if run.multitask else None
        rows.append(
            {
                "run": run.name,
                "mark": "upper bound" if run.is_upper_bound else "",
                "upper_bound": "true" if run.is_upper_bound else None,
                "dataset": run.manifest.dataset if run.manifest else None,
                "pairs": run.discovery.get("pairs", {}).get("rule"),
                "rule": run.discovery["rule"]["name"],
                "chosen": name_candidate(chosen) if chosen else "nothing found",
                "clusters": chosen["clusters"] if chosen else None,
                "principal_nmi": chosen["principal"]["nmi"] if chosen else None,
                "best_v": best[1] if best else None,
                "best_factor": best[0].replace("_", " ") if best else None,
                "method_chosen": name_method_of(choice) if choice else None,
                "gain_mean": effect.mean / 100 if effect else None,
                "gain_low": effect.low / 100 if effect and effect.low is not None else None,
                "gain_high": effect.high / 100 if effect and effect.high is not None else None,
                "verdict": judge_effect(run.multitask, effect) if run.multitask and effect else None,
            }
        )

    def show_gain(row: Row) -> str:
        if row["gain_mean"] is None:
            return NONE
        ends = [None if row[name] is None else 100 * row[name] for name in ("gain_low", "gain_high")]
        interval = format_interval(*ends)
        return f"{format_points(100 * row['gain_mean'])} ({interval}): {row['verdict']}"

    columns = [
        text_column("Run", "run"),
        text_column("Data set", "dataset"),
        text_column("Pairs", "pairs"),
        text_column("Choice rule", "rule"),
        text_column("Chosen", "chosen"),
        number_column("Clusters", "clusters", "d"),
        number_column("NMI with principal label", "principal_nmi"),
        number_column("Best V-measure", "best_v"),
        text_column("Hidden factor matched", "best_factor"),
        text_column("Method chosen", "method_chosen"),
        Column("Gain over STL, points (95% interval)", show_gain, is_number=False),
    ]
    fields = [name for name in rows[0] if name not in ("mark", "upper_bound")] + ["mark"]
    if any(run.is_upper_bound for run in runs):
        fields.append("upper_bound")
    return Table("comparison", "The runs side by side", columns, rows, fields)


def build_stages(run: Run) -> Table:
    """List seconds, end, commit and machine of every stage that has ended."""
    rows = [
        {"stage": stage, **record, "platform": record.get("machine", {}).get("platform")}
        for stage, record in run.records.items()
    ]
    columns = [
        text_column("Stage", "stage"),
        number_column("Seconds", "seconds", ".1f"),
        text_column("Finished (UTC)", "finished"),
        text_column("Commit", "commit"),
        text_column("Machine", "platform"),
    ]
    return Table("stages", "The stages that ran", columns, rows)


def build_settings(run: Run) -> Table:
    """List the config keys that differ from the defaults, with the value in the stage that reads each key."""
    defaults, rows = Config(), []
    for dotted, _, _ in iterate_fields():
        section, *names = dotted.split(".")
        default = get_value(defaults, dotted)
        value: Any = run.get_section(section)
        for name in names:
            value = value.get(name, default) if isinstance(value, dict) else default
        if value != default:
            rows.append({"key": dotted, "value": json.dumps(value), "default": json.dumps(default)})
    columns = [text_column("Key", "key"), text_column("Value", "value"), text_column("Default", "default")]
    return Table("settings", "Keys that differ from the defaults", columns, rows)
