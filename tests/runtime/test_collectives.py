def test_mean_and_its_gradient_are_those_of_all_ranks(calls):
    """Rank r has (1, 2) (r + 1) and weighs its result by (1, 2) (r + 1): each weight counts with the mean over ranks."""
    assert calls["mean"] == [{"value": [1.5, 3.0], "gradient": [1.5, 3.0]}] * 2


def test_gathered_rows_send_each_rank_the_gradient_of_its_own(calls):
    """Weights 1, 2, 3, 4 on rank 0 and twice these on rank 1; the gradients of the ranks are averaged afterwards."""
    assert [found["value"] for found in calls["gather"]] == [[[1.0, 2.0], [2.0, 4.0]]] * 2
    assert [found["gradient"] for found in calls["gather"]] == [[[3.0, 6.0]], [[9.0, 12.0]]]


def test_objects_reach_every_rank(calls):
    assert calls["shared"] == [{"from": 0}] * 2
    assert calls["gathered"] == [[[0], [1]]] * 2


def test_parts_of_all_ranks_are_the_whole_on_the_first(calls):
    assert calls["parts"] == [[[0, 0], [0, 2], [0, 2]], [[0, 1], [2, 4], [2, 5]]]
    assert calls["collected"] == [[[0], [0, 1, 2, 3], [0, 1, 2, 3, 4]], [[0], [2, 3], [2, 3, 4]]]
