"""Every number that the command line leaves is the recorded one, bit by bit; on another machine than the one that recorded, those
are compared that do not depend on how floats are rounded, and the first steps within a tolerance. Each test is named after the
comparison it makes."""

import pytest
from golden.cases import CASES
from golden.compare import choose_comparison, compare, format_table, read_golden

GOLDEN = read_golden()
HOW = choose_comparison(GOLDEN)
MARKED = [pytest.param(case.name, marks=() if case.is_default else pytest.mark.slow) for case in CASES]
LINES = 20  # of a table


@pytest.mark.parametrize("how", [HOW])
@pytest.mark.parametrize("name", MARKED)
def test_numbers_of_a_command_equal_the_recorded_ones(player, name, how, record_property):
    old = GOLDEN["cases"][name]
    differences, compared = compare(name, old, player.run(name), how)
    record_property("compared", f"{how}: {compared} of {len(old)} values")
    table = "\n".join(format_table(differences, LINES))
    assert not differences, f"{how} comparison of {compared} of {len(old)} values:\n{table}"
    assert compared


def test_every_recorded_case_is_one_of_the_list():
    assert set(GOLDEN["cases"]) == {case.name for case in CASES}
