"""The benchmark of false alarms: its pictures, its config, and the table of kept sets."""

import json

import numpy as np
import pytest
from PIL import Image

from detaux.config import load_config
from detaux.config.together import check_together


@pytest.fixture
def alarms(load):
    return load("false_alarms")


def test_config_runs_and_asks_for_every_guard(alarms):
    config = load_config(alarms.CONFIG)
    check_together(config)
    assert config.data.side == alarms.SIDE
    assert min(config.discover.min_recognition, config.discover.min_attraction) > 0


def test_set_has_a_folder_for_each_class_and_depends_on_kind_and_seed(alarms, tmp_path, monkeypatch):
    monkeypatch.setattr(alarms, "IMAGES", 6)
    drawn = {}
    for kind in alarms.KINDS:
        for seed in (1, 2):
            folder = tmp_path / f"{kind}{seed}"
            alarms.draw_set(kind, seed, folder)
            paths = sorted(folder.rglob("*.png"))
            assert [path.parent.name for path in paths] == [f"class{label}" for label in (0, 0, 1, 1, 2, 2)]
            drawn[kind, seed] = np.stack([np.asarray(Image.open(path)) for path in paths])
            assert drawn[kind, seed].shape == (6, alarms.SIDE, alarms.SIDE, 3)
    assert len({images.tobytes() for images in drawn.values()}) == 2 * len(alarms.KINDS)
    means = drawn["noise", 1].mean((1, 2, 3))  # the class is the mean
    np.testing.assert_allclose(means[2:4] - means[:2], 40, atol=4)


def test_table_counts_the_sets_with_a_task(alarms, tmp_path):
    for seed, is_alarm in ((1, False), (2, True)):
        judged = [{"recognition": 0.4 + 0.1 * seed, "attraction": None}, {"recognition": 0.1, "attraction": 0.2}]
        kept = {"is_alarm": is_alarm, "judged": judged, "seconds": 100.0}
        (tmp_path / f"noise-seed{seed}.json").write_text(json.dumps(kept))
    *_, line, total = alarms.make_table(tmp_path)
    assert line == "| white noise, a mean for each class | 2 | 1 | 0.60 | 0.20 | 100 |"
    assert total == "| all | 2 | 1 | | | |"


def test_kept_set_is_not_run_again(alarms, tmp_path, monkeypatch):
    (tmp_path / "noise-seed1.json").write_text("{}")
    monkeypatch.setattr(alarms, "call", lambda *_, **__: pytest.fail("it ran"))
    alarms.run_set("noise", 1, tmp_path / "out", tmp_path, [])


def test_set_without_judged_candidates_has_dashes(alarms, tmp_path):
    (tmp_path / "noise-seed1.json").write_text(json.dumps({"is_alarm": False, "judged": [], "seconds": 9.0}))
    assert alarms.make_table(tmp_path)[2] == "| white noise, a mean for each class | 1 | 0 | - | - | 9 |"


def test_outcome_keeps_what_was_judged(alarms, tmp_path):
    rows = [
        {"source": "mixture", "subspaces": [3], "clusters": 2, "fault": {"code": "with_arbitrary_borders"}},
        {"source": "subspace", "subspaces": [1], "clusters": 9, "fault": None},
    ]
    for row, recognition in zip(rows, (0.8, None), strict=True):
        row["scores"] = {"recognition": recognition, "attraction": 0.01}
    for name, content in (
        ("discover/discovery.json", {"candidates": rows, "seconds": 2.0}),
        ("disentangle/record.json", {"commit": "0" * 40, "seconds": 1.0}),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(content))
    kept = alarms.read_outcome(tmp_path)
    assert (kept["commit"], kept["seconds"]) == ("0" * 10, 3.0)
    (one,) = kept["judged"]
    assert (one["recognition"], one["attraction"], one["fault"]) == (0.8, 0.01, "with_arbitrary_borders")
