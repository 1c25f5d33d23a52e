import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from detaux.config import load_config
from detaux.multitask.controls import (
    ROTATION,
    Sources,
    build_control,
    complete_principal,
    find_control,
    find_replaced_share,
    list_controls,
)

LABELS = np.arange(1200) % 5
PRINCIPAL = (np.arange(1200) // 7) % 3
SOURCES = Sources(LABELS, PRINCIPAL, 3, oracle=np.arange(1200) % 2)
EVERY = "random,permuted,within_class,rotation,constant,correlated,oracle"


def hide(principal, share=0.9, seed=0):
    """The labels, -1 for a share of the images."""
    return np.where(np.random.default_rng(seed).random(len(principal)) < share, -1, principal)


def draw_dependent(images=6000, classes=3, clusters=6, purity=0.0, seed=0):
    """True classes, and labels that follow from the class with a chance of `purity`, else are independent of it."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(classes, size=images)
    own = truth * (clusters // classes) + draw.integers(clusters // classes, size=images)
    return truth, np.where(draw.random(images) < purity, own, draw.integers(clusters, size=images))


def test_every_control_of_the_config_gives_each_image_one_of_its_classes():
    config = load_config(None, [f"multitask.controls=[{EVERY}]"]).multitask
    names = list_controls(config)
    copies = ["correlated_0.1", "correlated_0.3", "correlated_0.6", "correlated_1"]
    own = ["random", "permuted", "within_class", "rotation", "constant", "correlated_split", *copies, "oracle"]
    assert names == own
    sources = Sources(LABELS, hide(PRINCIPAL), 3, SOURCES.oracle)
    counts = [find_control(name).count_classes(sources) for name in names]
    assert counts == [5, 5, 5, 4, 1, 15, 3, 3, 3, 3, 2]
    for name, classes in zip(names, counts, strict=True):
        control = build_control(name, sources, 0)
        assert (control is None) == (name == ROTATION)
        assert control is None or sorted(set(control.tolist())) == list(range(classes))
        assert control is None or (control.shape, control.dtype) == ((1200,), torch.int64)


def test_permuted_labels_keep_their_marginal():
    control = build_control("permuted", SOURCES, 0)
    assert np.array_equal(control.bincount(), np.bincount(LABELS))
    assert normalized_mutual_info_score(control, LABELS) < 0.02


def test_permuted_labels_are_the_same_whatever_images_are_labelled():
    without = Sources(LABELS, hide(PRINCIPAL), 3)
    assert torch.equal(build_control("permuted", without, 0), build_control("permuted", SOURCES, 0))


def test_labels_permuted_within_class_keep_their_dependence_on_it():
    control = build_control("within_class", SOURCES, 0)
    before, after = contingency_matrix(PRINCIPAL, LABELS), contingency_matrix(PRINCIPAL, control)
    assert (before == after).all()
    assert not np.array_equal(control, LABELS)


def test_within_class_keeps_the_dependence_on_the_true_class_if_most_images_are_unlabelled():
    """Shuffled as a class of their own, the 90% without a label would lose it: an NMI of 0.007."""
    truth, labels = draw_dependent(purity=1.0)
    control = build_control("within_class", Sources(labels, hide(truth), 3), 0)
    assert (contingency_matrix(truth, control) == contingency_matrix(truth, labels)).all()
    truth, labels = draw_dependent(purity=0.8)
    control = build_control("within_class", Sources(labels, hide(truth), 3), 0)
    found, kept = (normalized_mutual_info_score(truth, one) for one in (labels, control))
    assert found / 3 < kept < found


def test_within_class_forgets_clusters_that_are_independent_of_the_class():
    """If the majority of a cluster completed it, each class would be a few clusters: an NMI of 0.33."""
    truth, labels = draw_dependent()
    sources = Sources(labels, hide(truth), 3)
    assert normalized_mutual_info_score(build_control("within_class", sources, 0), labels) < 0.01


def test_completed_classes_keep_labels_and_follow_the_votes_of_the_cluster():
    principal = np.array([0] * 30 + [1] * 10 + [-1] * 4000 + [1] * 10 + [-1] * 5 + [-1] * 3000)
    clusters = np.array([0] * 4040 + [1] * 15 + [2] * 3000)
    completed = complete_principal(Sources(clusters, principal, 2), np.random.default_rng(0))
    assert (completed[principal >= 0] == principal[principal >= 0]).all()
    assert completed[40:4040].mean() == pytest.approx(0.25, abs=0.03)  # 10 votes of 40
    assert set(completed[clusters == 1]) == {1}
    assert completed[clusters == 2].mean() == pytest.approx(0.4, abs=0.03)  # 20 of all 50 labels
    assert principal.min() == -1  # those that the principal task trains on stay as they are


def test_random_labels_follow_the_marginal_and_nothing_else():
    skewed = Sources(np.array([0] * 900 + [1] * 300), PRINCIPAL, 3)
    control = build_control("random", skewed, 0)
    assert abs((control == 1).float().mean() - 0.25) < 0.04
    assert normalized_mutual_info_score(control, skewed.auxiliary) < 0.01
    assert torch.equal(control, build_control("random", skewed, 0))


def test_split_classes_are_five_equal_parts_of_each_class():
    principal = np.arange(6000) % 3
    control = build_control("correlated_split", Sources(np.arange(6000) % 7, principal, 3), 0).numpy()
    assert (control // 5 == principal).all()
    assert np.bincount(control, minlength=15).min() > 320  # 400 are expected, with a deviation of 18


@pytest.mark.parametrize("nmi", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_copied_classes_have_the_nmi_of_their_name_and_the_marginal_of_the_class(nmi):
    principal = np.random.default_rng(1).choice(4, 40000, p=[0.5, 0.3, 0.15, 0.05])
    control = build_control(f"correlated_{nmi:g}", Sources(np.zeros(40000, int), principal, 4), 0).numpy()
    assert normalized_mutual_info_score(principal, control) == pytest.approx(nmi, abs=0.01)
    assert np.bincount(control) / 40000 == pytest.approx(np.bincount(principal) / 40000, abs=0.01)
    assert (nmi == 1) == np.array_equal(control, principal)


def test_replaced_share_of_two_equal_classes_is_the_noise_of_a_binary_channel():
    """A label that is replaced changes with chance 1/2, so NMI = 1 - H2(share / 2) in bits."""
    share = find_replaced_share(np.array([0.5, 0.5, 0.0]), 0.3)
    chances = np.array([share / 2, 1 - share / 2])
    assert 1 + np.sum(chances * np.log2(chances)) == pytest.approx(0.3, abs=1e-12)
    assert find_replaced_share(np.array([0.0, 1.0]), 0.3) == 0.0


def test_copied_classes_reach_unlabelled_images():
    truth, labels = draw_dependent(purity=1.0)
    control = build_control("correlated_1", Sources(labels, hide(truth), 3), 0)
    assert np.array_equal(control, truth)


def test_oracle_labels_are_the_factor_itself():
    assert np.array_equal(build_control("oracle", SOURCES, 0), SOURCES.oracle)


def test_unknown_control_is_refused_by_name():
    with pytest.raises(ValueError, match="'shuffled'"):
        build_control("shuffled", SOURCES, 0)
