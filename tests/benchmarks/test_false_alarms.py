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
        kept = {"is_alarm": is_alarm, "best_recognition": 0.4 + 0.1 * seed, "seconds": 100.0}
        (tmp_path / f"noise-seed{seed}.json").write_text(json.dumps(kept))
    *_, line, total = alarms.make_table(tmp_path)
    assert line == "| white noise, a mean for each class | 2 | 1 | 0.60 | 100 |"
    assert total == "| all | 2 | 1 | | |"


def test_kept_set_is_not_run_again(alarms, tmp_path, monkeypatch):
    (tmp_path / "noise-seed1.json").write_text("{}")
    monkeypatch.setattr(alarms, "call", lambda *_, **__: pytest.fail("it ran"))
    alarms.run_set("noise", 1, tmp_path / "out", tmp_path, [])
