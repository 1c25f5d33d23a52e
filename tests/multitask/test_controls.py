import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from detaux.config.load import iterate_fields
from detaux.multitask.controls import ROTATION, build_control

LABELS = torch.arange(1200) % 5
PRINCIPAL = (torch.arange(1200) // 7) % 3


def test_every_control_of_the_config_is_made_here():
    (choices,) = (entry.metadata["choices"] for key, entry, _ in iterate_fields() if key == "multitask.controls")
    for name in set(choices) - {ROTATION}:
        assert build_control(name, LABELS, PRINCIPAL, 0).shape == LABELS.shape


def test_permuted_labels_keep_their_marginal():
    control = build_control("permuted", LABELS, PRINCIPAL, 0)
    assert torch.equal(control.bincount(), LABELS.bincount())
    assert normalized_mutual_info_score(control, LABELS) < 0.02


def test_labels_permuted_within_class_keep_their_dependence_on_it():
    control = build_control("within_class", LABELS, PRINCIPAL, 0)
    before, after = contingency_matrix(PRINCIPAL, LABELS), contingency_matrix(PRINCIPAL, control)
    assert (before == after).all()
    assert not torch.equal(control, LABELS)


def test_random_labels_follow_the_marginal_and_nothing_else():
    skewed = torch.tensor([0] * 900 + [1] * 300)
    control = build_control("random", skewed, PRINCIPAL, 0)
    assert abs((control == 1).float().mean() - 0.25) < 0.04
    assert normalized_mutual_info_score(control, skewed) < 0.01
    assert torch.equal(control, build_control("random", skewed, PRINCIPAL, 0))


def test_unknown_control_is_refused_by_name():
    with pytest.raises(ValueError, match="'shuffled'"):
        build_control("shuffled", LABELS, PRINCIPAL, 0)
