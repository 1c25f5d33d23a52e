"""Which candidates become auxiliary tasks: guards say who may, a named rule says who is best."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.candidate import Candidate, Scores

SMALLEST, LARGEST = 1, -1
SAME_TASK_AMI = 0.5  # two tasks that tell more of each other are one task

# rule -> scores it compares, the first first, and the end that wins
RULES: dict[str, tuple[tuple[str, int], ...]] = {
    "separation": (("separation", LARGEST),),
    "paper": (("distance", SMALLEST),),
    "official": (("dot", SMALLEST),),
    "invariance": (("invariance", SMALLEST),),
    "least_noise": (("noise_share", SMALLEST), ("silhouette", LARGEST)),
    "silhouette": (("silhouette", LARGEST),),
    "validity": (("validity", LARGEST),),
    "stability": (("stability", LARGEST),),
    "agreement": (("agreement", LARGEST), ("separation", LARGEST)),
}


def find_fault(candidate: Candidate, config: DiscoverConfig) -> str | None:
    """What forbids to choose a candidate, in words; None where nothing does. A score that does not apply forbids nothing."""
    spread, share = candidate.scores.get("spread"), candidate.scores.get("oracle_share")
    nmi, noise = candidate.principal.get("nmi"), candidate.clusters.noise_share
    if spread is not None and spread < config.min_variance_share:
        return (
            f"dead: {spread:.2g} of the variance, less than discover.min_variance_share={config.min_variance_share:g}"
        )
    if candidate.clusters.count < 2:
        return "one cluster" if candidate.clusters.count else "no cluster: all points are noise"
    if noise > config.max_noise_share:
        return f"{noise:.1%} noise, more than discover.max_noise_share={config.max_noise_share:g}"
    if share is not None and share < config.min_oracle_share:
        return f"oracle share {share:.3f}, less than discover.min_oracle_share={config.min_oracle_share:g}"
    if nmi is not None and nmi > config.max_principal_nmi:
        return (
            f"NMI {nmi:.3f} with the principal label, more than discover.max_principal_nmi={config.max_principal_nmi:g}"
        )
    return None


def rank_scores(scores: Sequence[Scores], rule: str) -> list[int]:
    """Positions of candidates by their scores and noise share, best first; one without the rule's score comes last, equals
    keep their order."""

    def sort_key(position: int) -> tuple[float, ...]:
        values = ((scores[position].get(name), sign) for name, sign in RULES[rule])
        return tuple(float("inf") if value is None else sign * value for value, sign in values)

    return sorted(range(len(scores)), key=sort_key)


def rank_candidates(candidates: Sequence[Candidate], rule: str) -> list[int]:
    """Positions of the candidates without a fault, in the order of rank_scores."""
    eligible = [position for position, one in enumerate(candidates) if one.why_not is None]
    scores = [{**candidates[i].scores, "noise_share": candidates[i].clusters.noise_share} for i in eligible]
    return [eligible[place] for place in rank_scores(scores, rule)]


def choose_tasks(candidates: Sequence[Candidate], config: DiscoverConfig) -> list[int]:
    """Positions of up to `discover.tasks` candidates, best first, without one that repeats a better one."""
    tasks: list[int] = []
    for position in rank_candidates(candidates, config.choose):
        labels = candidates[position].clusters.class_labels
        if all(_differs(labels, candidates[task].clusters.class_labels) for task in tasks):
            tasks.append(position)
        if len(tasks) == config.tasks:
            break
    return tasks


def _differs(first_N: np.ndarray, second_N: np.ndarray) -> bool:
    return adjusted_mutual_info_score(first_N, second_N) <= SAME_TASK_AMI


def describe_nothing(candidates: Sequence[Candidate], config: DiscoverConfig) -> str:
    """Why nothing was found, candidate by candidate with its scores, and what to try."""
    lines = [f"no hidden task was found: none of {len(candidates)} candidates may be chosen."]
    for candidate in candidates:
        scores = ", ".join(f"{name} {value:.3g}" for name, value in candidate.scores.items() if value is not None)
        lines.append(f"  {candidate.title}: {candidate.why_not} ({candidate.clusters.count} clusters, {scores})")
    is_small = config.min_cluster_fraction * len(candidates[0].clusters.labels) < config.min_cluster_size
    smallest = "discover.min_cluster_size, or take more images" if is_small else "discover.min_cluster_fraction"
    advice = ["train longer (disentangle.main.steps)", f"lower {smallest}"]
    if any(candidate.clusters.noise_share > config.max_noise_share for candidate in candidates):
        advice.append("raise discover.max_noise_share")
    if not config.include_baselines:
        advice.append("set discover.include_baselines=true")
    if config.clusterer == "hdbscan":
        advice.append("set discover.clusterer=kmeans")
    lines.append(f"Try: {', '.join(advice)}.")
    return "\n".join(lines)
