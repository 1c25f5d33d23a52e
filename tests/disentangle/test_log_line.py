from detaux.disentangle.log_line import LineFacts, build_line

FACTS = LineFacts(
    step=30,
    steps=100,
    phase="main",
    uses_ground_truth=False,
    progress=0.5,
    betas=(1.0, 0.5, 0.25),
    lr=0.1,
    images=640,
    data_seconds=0.5,
    memory_bytes=7,
    seconds=2.0,
)


def test_line_has_means_by_their_keys_and_rates_by_the_seconds():
    means = {"total": 3.0, "distance": 1.0, "oracle_share": [0.25, 0.75], "grad_norm": 2.0}
    assert build_line(means, FACTS) == {
        "step": 30,
        "steps": 100,
        "phase": "main",
        "uses_ground_truth": False,
        "progress": 0.5,
        "loss/total": 3.0,
        "loss/distance": 1.0,
        "oracle/share": [0.25, 0.75],
        "grad_norm": 2.0,
        "beta/1": 1.0,
        "beta/2": 0.5,
        "beta/3": 0.25,
        "lr": 0.1,
        "samples_per_second": 320.0,
        "data_wait_share": 0.25,
        "memory_bytes": 7,
        "seconds": 2.0,
    }


def test_share_of_one_factor_is_of_the_pairs_with_equal_labels():
    """A quarter of all pairs, of which half have equal labels; none where no pair has."""
    means = {"total": 1.0, "pairs/different_share": 0.5, "pairs/one_factor_share": 0.25}
    assert build_line(means, FACTS)["pairs/one_factor_share"] == 0.5
    assert build_line(means | {"pairs/different_share": 1.0}, FACTS)["pairs/one_factor_share"] is None
    assert means["pairs/one_factor_share"] == 0.25
