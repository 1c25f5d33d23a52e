from hypothesis import given
from hypothesis import strategies as st

from detaux.discover.clusterers.disjoint import find_root, number_sets


@given(
    st.integers(1, 40).flatmap(
        lambda size: st.tuples(st.just(size), st.lists(st.tuples(*[st.integers(0, size - 1)] * 2)))
    )
)
def test_sets_are_those_that_the_joins_say(case):
    size, joins = case
    above, members = list(range(size)), [{node} for node in range(size)]
    for one, other in joins:
        above[find_root(above, one)] = find_root(above, other)
        if members[one] is not members[other]:
            members[one] |= members[other]
            for node in members[other]:
                members[node] = members[one]
    numbers = number_sets(above).tolist()
    assert sorted(set(numbers)) == list(range(len(set(map(id, members)))))
    for node in range(size):
        assert {other for other in range(size) if numbers[other] == numbers[node]} == members[node]
