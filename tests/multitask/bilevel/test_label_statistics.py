import math

import pytest
import torch

from detaux.multitask.bilevel.label_statistics import LabelStatistics


def test_hard_labels_have_one_slot_and_uniform_labels_all():
    statistics = LabelStatistics([2, 2])
    assert statistics.describe() == {}
    statistics.add(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    assert statistics.describe() == pytest.approx({"slots_per_image": 1.0, "slots_per_class": 2.0})
    statistics.clear()
    statistics.add(torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]))
    assert statistics.describe() == pytest.approx({"slots_per_image": 2.0, "slots_per_class": 2.0})


def test_numbers_are_means_over_all_batches():
    statistics = LabelStatistics([2, 1])
    statistics.add(torch.tensor([[0.75, 0.25, 0.0]]))
    statistics.add(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    spread = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    first = (1.75 / 2, 0.25 / 2)
    used = math.exp(-sum(share * math.log(share) for share in first))
    expected = {"slots_per_image": (spread + 1 + 1) / 3, "slots_per_class": (used + 1) / 2}
    assert statistics.describe() == pytest.approx(expected, rel=1e-6)
