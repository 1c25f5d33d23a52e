"""Explain the choice: the rule's scores of the chosen clustering and the runner-up, and why others were rejected."""

from collections import Counter
from typing import Any

from detaux.report.collect import Candidate, Run, name_candidate
from detaux.report.table import Table, number_column, text_column
from detaux.report.tables import title_score


def find_runner_up(run: Run) -> Candidate | None:
    """Return the clustering that the rule ranks second, or None if there is no other or nothing was chosen."""
    ranking = run.discovery.get("ranking", [])[1:2]
    return next((one for one in run.clusterings if one["kind"] != "principal" and one["index"] in ranking), None)


def _get_score(candidate: Candidate, name: str) -> Any:
    return candidate.get("noise_share") if name == "noise_share" else candidate["scores"].get(name)


def describe_choice(run: Run) -> str:
    """Describe the rule's scores of the chosen clustering and the runner-up, and why others were rejected."""
    score = run.discovery["rule"]["score"]
    chosen, second, parts = run.chosen, find_runner_up(run), []
    if chosen is not None and _get_score(chosen, score) is not None:
        title = title_score(score).lower()
        text = f"Chosen: {name_candidate(chosen)}, {title} {_get_score(chosen, score):.3f}"
        if second is None:
            text += "; nothing else was eligible"
        elif _get_score(second, score) is not None:
            text += f"; next: {name_candidate(second)}, {_get_score(second, score):.3f}"
        parts.append(f"{text}.")
    return " ".join([*parts, *filter(None, (describe_rejected(run), describe_dependence(run), describe_live(run)))])


def describe_rejected(run: Run) -> str | None:
    """Count the candidates that failed each guard, by the codes of their faults; return None if none did."""
    faults = [one["fault"]["code"] for one in run.discovery["candidates"] if one["fault"]]
    if not faults:
        return None
    groups = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in Counter(faults).most_common())
    return f"Not eligible: {len(faults)} of {len(run.discovery['candidates'])} candidates ({groups})."


def describe_dependence(run: Run) -> str | None:
    """Name the candidate that depends most on the principal label, and count the related ones.

    Return None if that was not measured.
    """
    known = [one for one in run.clusterings if one["kind"] == "candidate" and one["principal"].get("nmi") is not None]
    if not known:
        return None
    most = max(known, key=lambda one: one["principal"]["nmi"])
    text = f"Largest dependence on the principal label: {name_candidate(most)}, NMI {most['principal']['nmi']:.3f}."
    related = sum(one.get("relation") == "related" for one in known)
    if not related:
        return text
    verb = "is" if related == 1 else "are"
    return f"{text} {related} of {len(known)} candidates {verb} related to it: a classifier may lean on such a factor."


def describe_live(run: Run) -> str | None:
    """Say how many free subspaces carry variance, with advice on their number, or return None if none were counted."""
    live, free = run.discovery.get("live_subspaces"), run.discovery.get("free_subspaces")
    if live is None or not free:
        return None
    text = f"{live} of {free} free subspaces {'is' if live == 1 else 'are'} live"
    if 2 * live < free:
        return f"{text}: fewer would do (lower model.subspaces)."
    if live == free and all(len(one["subspaces"]) < 2 for one in run.discovery["candidates"]):
        return f"{text}, and no two were merged: there may be more to find (raise model.subspaces)."
    return f"{text}."


def build_choice(run: Run) -> Table | None:
    """Compare the chosen clustering with the runner-up, the rule's score first; return None if nothing was chosen."""
    if run.chosen is None:
        return None
    pair = [run.chosen, *filter(None, [find_runner_up(run)])]
    score = run.discovery["rule"]["score"]
    names = [name for name in dict.fromkeys((score, "validity", "stability")) if name and name != "noise_share"]
    rows = [
        {
            "clustering": name_candidate(one),
            "mark": "chosen" if one["is_chosen"] else "next",
            **{name: _get_score(one, name) for name in names},
            "clusters": one["clusters"],
            "noise_share": one["noise_share"],
            "principal_nmi": one["principal"]["nmi"],
            "relation": one.get("relation"),
        }
        for one in pair
    ]
    columns = [
        text_column("Clustering", "clustering"),
        *(number_column(title_score(name) + (" (rule)" if name == score else ""), name) for name in names),
        number_column("Clusters", "clusters", "d"),
        number_column("Noise %" + (" (rule)" if score == "noise_share" else ""), "noise_share", ".1f", 100),
        number_column(f"NMI with {run.principal_name}", "principal_nmi"),
        text_column("Relation", "relation"),
    ]
    return Table("choice", "The chosen clustering and the one that the rule ranks next", columns, rows, list(rows[0]))


def build_factors(run: Run) -> Table | None:
    """Compare the chosen clusters with each known factor; return None if nothing was chosen or no factor is known."""
    factors = (run.chosen or {}).get("factors") or {}
    if not factors:
        return None
    names = ("homogeneity", "completeness", "v_measure", "ami")
    rows = [{"factor": name.replace("_", " "), **measures} for name, measures in factors.items()]
    titles = ("Homogeneity", "Completeness", "V-measure", "AMI")
    columns = [text_column("Known factor", "factor")]
    columns += [number_column(title, name) for title, name in zip(titles, names, strict=True)]
    caption = "Match of the chosen clusters with each known factor (scoring only)"
    return Table("factors", caption, columns, rows, ["factor", *names])
