import pytest

from detaux.multitask.trial import Trial


@pytest.mark.parametrize(
    ("method", "labels", "kind"),
    [
        ("stl", "none", "stl"),
        ("stl_long", "none", "baseline"),
        ("hard_sharing", "discovered", "method"),
        ("own_labels", "none", "method"),
        ("hard_sharing", "discovered@seed1", "variant"),
        ("hard_sharing", "discovered@kmeans++", "variant"),
        ("hard_sharing", "entangled", "control"),
        ("hard_sharing", "random", "control"),
        ("hard_sharing", "rotation", "control"),
        ("hard_sharing", "correlated_0.3", "control"),
        ("hard_sharing", "oracle", "upper_bound"),
    ],
)
def test_kind_says_what_a_trial_is_run_for(method, labels, kind):
    assert Trial(method, labels, 0.5, 0).kind == kind


def test_network_of_a_method_without_its_second_loss_is_a_baseline():
    assert Trial("nddr", "discovered", 0.0, 0).kind == "baseline"
    assert Trial("nddr", "random", 0.0, 0).kind == "control"
