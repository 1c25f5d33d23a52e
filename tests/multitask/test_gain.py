import shutil

import pytest

from detaux.config import load_config
from detaux.multitask.gain import measure_gain


def test_gain_is_that_of_the_validation_rows_and_the_test_split_is_not_read(keys, inputs, finished, tmp_path):
    shutil.copytree(inputs / "shards", tmp_path / "shards")
    for path in (tmp_path / "shards").glob("test-*.tar"):
        path.unlink()
    config = load_config(None, [*keys, "multitask.controls=[]"])
    gain = measure_gain(config, tmp_path / "shards", inputs / "discover" / "labels.parquet", tmp_path / "gain")
    _, metrics = finished
    chosen, alone = (
        [row["accuracy"] for row in metrics["rows"] if row["method"] == method and row["split"] == "validation"]
        for method in ("selected", "stl")
    )
    assert gain == pytest.approx(sum(chosen) / 2 - sum(alone) / 2, abs=1e-9)
    assert gain >= 0
