import json

import numpy as np


def test_row_is_plain_json(make_candidate):
    candidate = make_candidate([0, 1, 1, -1], subspaces=(2, 5), separation=np.float64(0.123456789), dot=None)
    candidate.why_not = "one cluster"
    row = json.loads(json.dumps(candidate.to_row(3)))
    assert row["index"] == 3
    assert row["subspaces"] == [2, 5]
    assert (row["clusters"], row["noise_share"]) == (2, 0.25)
    assert (row["eligible"], row["why_not"]) == (False, "one cluster")
    assert row["scores"] == {"separation": 0.123457, "dot": None}
    assert candidate.title == "subspaces 2 + 5"
