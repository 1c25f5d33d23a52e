"""Choose which candidates become auxiliary tasks: guards exclude some, and a named rule ranks the rest."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score

from detaux.config.choice_rules import CHOICE_RULES
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.candidate import Candidate, Fault, Scores
from detaux.discover.dependence import compute_ami_within

SAME_TASK_AMI = 0.5  # two labellings with a higher AMI count as one task

CUT = "cut_through_a_continuum"  # code of a fault

SIGNS = {"lower": 1, "higher": -1}  # sign that sorts the better score first


def find_fault(candidate: Candidate, config: DiscoverConfig) -> Fault | None:
    """Return the reason why a candidate may not be chosen, or None if it may. A missing score forbids nothing.

    The report counts faults by their codes and shows each code as words.
    """
    spread, share = candidate.scores.get("spread"), candidate.scores.get("oracle_share")
    recognition = candidate.scores.get("recognition")
    noise, clusters = candidate.clusters.outlier_fraction, candidate.clusters.count
    unexplained = candidate.principal.get("unexplained")
    if spread is not None and spread < config.min_variance_fraction:
        limit = f"discover.min_variance_fraction={config.min_variance_fraction:g}"
        return Fault("dead", f"dead: {spread:.2g} of the variance, less than {limit}")
    if clusters == 0:
        return Fault("without_clusters", "no cluster: all points are outliers")
    if clusters == 1:
        return Fault("with_one_cluster", "one cluster")
    if noise > config.max_outlier_fraction:
        limit = f"discover.max_outlier_fraction={config.max_outlier_fraction:g}"
        return Fault("with_too_many_outliers", f"{noise:.1%} outliers, more than {limit}")
    if not config.cut_continua and _is_cut(candidate, config):
        return Fault(CUT, "parts of a line or ring, which only discover.cut_continua=true allows")
    if share is not None and share < config.min_oracle_fraction:
        limit = f"discover.min_oracle_fraction={config.min_oracle_fraction:g}"
        return Fault("hardly_used_by_the_oracle", f"oracle share {share:.3f}, less than {limit}")
    if recognition is not None and recognition < config.min_recognition:
        limit = f"discover.min_recognition={config.min_recognition:g}"
        most = "at most " if candidate.cross and candidate.cross.rounds == 0 else ""
        return Fault("hardly_recognised", f"recognition {most}{recognition:.3f}, less than {limit}")
    attraction = candidate.scores.get("attraction")
    if attraction is not None and attraction < config.min_attraction:
        limit = f"discover.min_attraction={config.min_attraction:g}"
        return Fault(
            "with_arbitrary_borders", f"attraction {attraction:.3f}, less than {limit}: the border could be elsewhere"
        )
    if unexplained is not None and unexplained < config.min_unexplained:
        limit = f"discover.min_unexplained={config.min_unexplained:g}"
        text = f"the principal label leaves only {unexplained:.1%} of its entropy unexplained, less than {limit}"
        return Fault("explained_by_the_principal_label", text)
    return None


def _is_cut(candidate: Candidate, config: DiscoverConfig) -> bool:
    """Return whether the clusters are parts of a line or ring for which nobody asked."""
    is_asked = candidate.cuts_on_purpose or config.clusterer.startswith("kmeans")
    return candidate.is_continuum and not is_asked


def rank_scores(scores: Sequence[Scores], rule: str) -> list[int]:
    """Return the positions of candidates, best first by the scores that the rule reads.

    A candidate without such a score comes last. Equal candidates keep their order.
    """

    def sort_key(position: int) -> tuple[float, ...]:
        values = ((scores[position].get(name), SIGNS[better]) for name, better in CHOICE_RULES[rule].scores)
        return tuple(float("inf") if value is None else sign * value for value, sign in values)

    return sorted(range(len(scores)), key=sort_key)


def rank_candidates(candidates: Sequence[Candidate], rule: str) -> list[int]:
    """Return the positions of the candidates without a fault, in the order of rank_scores."""
    eligible = [position for position, one in enumerate(candidates) if one.fault is None]
    scores = [{**candidates[i].scores, "noise_share": candidates[i].clusters.outlier_fraction} for i in eligible]
    return [eligible[place] for place in rank_scores(scores, rule)]


def group_passing(
    candidates: Sequence[Candidate], principal_N: np.ndarray, rule: str, most: int
) -> dict[int, list[int]]:
    """Return up to `most` positions of candidates without a fault, best first, of which none repeats a better one.

    Each has the positions of those that repeat it, which rank lower. `principal_N` are the principal labels, -1 if
    unknown.
    """
    groups: dict[int, list[int]] = {}
    for position in rank_candidates(candidates, rule):
        labels = candidates[position].clusters.class_labels
        repeated = (
            task for task in groups if not _differs(labels, candidates[task].clusters.class_labels, principal_N)
        )
        same = next(repeated, None)
        if same is not None:
            groups[same].append(position)
        elif len(groups) < most:
            groups[position] = []
    return groups


def _differs(first_N: np.ndarray, second_N: np.ndarray, principal_N: np.ndarray) -> bool:
    """Return whether two labellings are two tasks: they differ over all points or, if it can be said, within classes."""
    if adjusted_mutual_info_score(first_N, second_N) <= SAME_TASK_AMI:
        return True
    within = compute_ami_within(first_N, second_N, principal_N)
    return within is not None and within <= SAME_TASK_AMI


def describe_nothing(candidates: Sequence[Candidate], config: DiscoverConfig, longer: str) -> str:
    """Explain why nothing was found: list each candidate with its scores, and what to try.

    `longer` is the key whose value makes the disentangler train longer.
    """
    if not candidates:  # some kinds propose nothing if they see no factor
        more = sorted({"subspace", *config.sources})
        return (
            f"no hidden task was found: discover.sources=[{','.join(config.sources)}] proposed no candidate.\n"
            f"Try: set discover.sources=[{','.join(more)}], set discover.include_baselines=true."
        )
    lines = [f"no hidden task was found: none of {len(candidates)} candidates may be chosen."]
    for candidate in candidates:
        reason = candidate.fault.text if candidate.fault else "eligible"
        scores = ", ".join(f"{name} {value:.3g}" for name, value in candidate.scores.items() if value is not None)
        lines.append(f"  {candidate.title}: {reason} ({candidate.clusters.count} clusters, {scores})")
    is_small = config.min_cluster_fraction * len(candidates[0].clusters.labels) < config.min_cluster_size
    smallest = "discover.min_cluster_size, or take more images" if is_small else "discover.min_cluster_fraction"
    advice = [f"train longer ({longer})", f"lower {smallest}"]
    if any(candidate.fault and candidate.fault.code == "hardly_recognised" for candidate in candidates):
        advice.append("raise discover.cross_prediction.steps or lower discover.min_recognition")
    if any(candidate.fault and candidate.fault.code == "with_arbitrary_borders" for candidate in candidates):
        advice.append("lower discover.min_attraction")
    if any(candidate.fault and candidate.fault.code == CUT for candidate in candidates):
        advice.append("set discover.cut_continua=true")
    if any(candidate.clusters.outlier_fraction > config.max_outlier_fraction for candidate in candidates):
        advice.append("raise discover.max_outlier_fraction")
    if not config.include_baselines:
        advice.append("set discover.include_baselines=true")
    if config.clusterer == "hdbscan":
        advice.append("set discover.clusterer=kmeans")
    lines.append(f"Try: {', '.join(advice)}.")
    return "\n".join(lines)
