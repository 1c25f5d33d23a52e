import re

import pytest

from detaux.errors import UserError
from shards.published import refuse_swapped


def test_only_reversed_counts_are_swapped() -> None:
    for counts in ((8, 5), (5, 5), (3, 8)):
        refuse_swapped("here", counts, (8, 5))
    with pytest.raises(UserError, match=re.escape("here: 5 training and 8 test images")):
        refuse_swapped("here", (5, 8), (8, 5))
