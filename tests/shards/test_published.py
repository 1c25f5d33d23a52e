import re

import pytest

from detaux.errors import UserError
from shards.published import refuse_swapped


@pytest.mark.parametrize("counts", [(8, 5), (7, 6), (8, 7), (6, 5), (3, 3)])
def test_counts_of_own_part_or_of_none_pass(counts: tuple[int, int]) -> None:
    refuse_swapped("here", counts, (8, 5))


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((5, 8), "5 training and 8 test images, but the published files have 8 and 5; the two are swapped"),
        ((5, 5), "5 training images, as many as in the published test part; the published training part has 8."),
        ((5, 3), "5 training images, as many as in the published test part; the published training part has 8."),
        ((8, 8), "8 test images, as many as in the published training part; the published test part has 5."),
        ((3, 8), "8 test images, as many as in the published training part; the published test part has 5."),
    ],
)
def test_count_of_the_other_part_is_refused(counts: tuple[int, int], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"here: {sentence}")):
        refuse_swapped("here", counts, (8, 5))
