"""The line that pools seeds of discovery, against values computed by hand."""

import math

import pytest

from detaux.multitask.pooling import pool_seeds
from detaux.multitask.statistics import summarize
from detaux.multitask.trial import Trial

ACCURACIES = {  # labels -> accuracy of two training seeds
    "none": (0.5, 0.7),
    "discovered": (0.6, 0.8),  # gains 0.1
    "discovered@seed4": (0.7, 0.8),  # 0.15
    "discovered@seed5": (0.5, 0.7),  # 0
    "discovered@kmeans": (0.9, 0.9),
    "random": (0.1, 0.1),
}


def make_summary(*labels, method="hard_sharing", split="test"):
    rows = []
    for name in ("none", *labels):
        trained, weight = ("stl", 0.0) if name == "none" else (method, 0.5)
        for seed, accuracy in enumerate(ACCURACIES[name]):
            costs = {"parameters": 10 * len(rows), "steps": 10, "seconds": 1.0}
            rows.append({**Trial(trained, name, weight, seed).describe(split), "accuracy": accuracy, **costs})
    return summarize([*rows, *({**row, "method": "selected"} for row in rows if row["labels"] == "discovered")])


def test_pooled_line_is_the_mean_over_seeds_of_discovery_and_its_interval_over_these():
    (line,) = pool_seeds(make_summary(*list(ACCURACIES)[1:]))
    assert (line["kind"], line["method"], line["labels"]) == ("variant", "hard_sharing", "discovered@seeds")
    assert (line["weight"], line["split"], line["seeds"]) == (0.5, "test", 3)
    assert line["accuracy_mean"] == pytest.approx((0.7 + 0.75 + 0.6) / 3)
    gain, half = 0.25 / 3, 4.302652729911275 * math.sqrt(7 / 1200) / math.sqrt(3)  # t(0.975, 2) * sd / sqrt(n)
    assert line["gain_mean"] == pytest.approx(gain)
    assert (line["gain_low"], line["gain_high"]) == (pytest.approx(gain - half), pytest.approx(gain + half))
    assert line["gain_p"] is None
    assert line["parameters"] == pytest.approx((25 + 45 + 65) / 3)


def test_pooled_line_has_the_columns_of_the_others():
    summary = make_summary("discovered", "discovered@seed4")
    assert [list(line) for line in pool_seeds(summary)] == [list(summary[0])]


@pytest.mark.parametrize("labels", [[], ["discovered"], ["discovered", "discovered@kmeans", "random"]])
def test_one_seed_of_discovery_is_not_pooled(labels):
    assert pool_seeds(make_summary(*labels)) == []


def test_each_method_and_split_is_pooled_by_itself():
    summaries = [make_summary("discovered", "discovered@seed5", method=method, split=split)
                 for method, split in (("hard_sharing", "test"), ("hard_sharing", "validation"), ("nddr", "test"))]  # fmt: skip
    lines = pool_seeds([line for summary in summaries for line in summary])
    assert [(line["method"], line["split"], line["seeds"]) for line in lines] == [
        ("hard_sharing", "test", 2),
        ("hard_sharing", "validation", 2),
        ("nddr", "test", 2),
    ]
