def test_first_rank_acts_alone_for_all_and_its_error_is_told_once(calls):
    assert calls["first"] == [[0, 1]] * 2
    assert calls["first fails"] == [["nothing here.", 3, False], ["nothing here.", 3, True]]


def test_all_ranks_act_and_the_error_of_one_is_raised_by_all_and_told_once(calls):
    assert calls["each"] == [0, 1]
    assert calls["each fails"] == [["nothing here.", 3, True], ["nothing here.", 3, False]]


def test_votes_are_counted_one_call_later_on_every_rank(calls):
    assert calls["votes"] == [[0, 0, 7, 0]] * 2
