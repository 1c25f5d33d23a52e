"""Declare the rules that choose an auxiliary task among the eligible candidates.

They are declared here, below discovery, because the help of `discover.choose` shows them too. discovery.json carries
the rule of its run, so that the report needs no list.
"""

from dataclasses import dataclass
from typing import Any, Literal

End = Literal["higher", "lower"]


@dataclass(frozen=True)
class ChoiceRule:
    """Hold a rule: the score that it compares, which end is better, the score's meaning, and scores that break ties."""

    name: str
    score: str
    better: End
    meaning: str
    ties: tuple[tuple[str, End], ...] = ()

    @property
    def scores(self) -> tuple[tuple[str, End], ...]:
        """Return the scores that the rule compares, in order, each with its better end."""
        return ((self.score, self.better), *self.ties)

    def to_row(self) -> dict[str, Any]:
        """Return the rule as discovery.json stores it."""
        return {"name": self.name, "score": self.score, "better": self.better, "meaning": self.meaning}


TABLE = (
    ChoiceRule(
        "separation",
        "separation",
        "higher",
        "silhouette x ln(clusters) x (1 - outlier fraction) x ((1 + validity) / 2)^2",
    ),
    ChoiceRule("paper", "distance", "lower", "the subspace's own distance loss, as the paper says"),
    ChoiceRule(
        "official",
        "dot",
        "lower",
        "absolute value of the mean over images of <s_alpha, s_j>, as in the authors' official code",
    ),
    ChoiceRule("invariance", "invariance", "lower", "how much the subspace moves when the oracle points elsewhere"),
    ChoiceRule(
        "least_noise",
        "noise_share",
        "lower",
        "share of images that fit no cluster; ties go to the larger silhouette",
        (("silhouette", "higher"),),
    ),
    ChoiceRule("silhouette", "silhouette", "higher", "how compact and apart the clusters are"),
    ChoiceRule("validity", "validity", "higher", "how much denser the clusters are inside than between (DBCV)"),
    ChoiceRule("stability", "stability", "higher", "how well clusterings of resampled images agree"),
    ChoiceRule(
        "agreement",
        "agreement",
        "higher",
        "how well other restarts found the same clusters; ties go to the larger separation",
        (("separation", "higher"),),
    ),
    ChoiceRule(
        "recognition",
        "independent_recognition",
        "higher",
        "how well networks recognise the clusters in images that they did not see (discover.cross_prediction), agreement x "
        "reproducibility x (1 - undecided share), times 1 - Cramer's V with the principal label, corrected for chance",
        (("separation", "higher"),),
    ),
)
CHOICE_RULES: dict[str, ChoiceRule] = {rule.name: rule for rule in TABLE}
