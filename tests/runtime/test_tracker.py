import os

import pytest

from detaux.runtime.tracker import METRICS_NAME, MetricsLog, read_metrics


def test_metrics_reopened_at_a_step_drop_later_lines(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.write({"step": step, "loss/total": float(step)})
    with MetricsLog(tmp_path, 2) as log:
        log.write({"step": 3, "loss/total": 9.0})
    assert [(line["step"], line["loss/total"]) for line in read_metrics(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 9.0)]


def test_metrics_line_cut_by_a_kill_is_left_out(tmp_path):
    (tmp_path / METRICS_NAME).write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1}]


def test_metrics_write_null_for_non_finite(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        log.write({"step": 1, "loss/total": float("nan")})
    assert read_metrics(tmp_path) == [{"step": 1, "loss/total": None}]


def test_metrics_killed_while_they_are_cut_back_keep_every_line(tmp_path, monkeypatch):
    lines = [{"step": step} for step in (1, 2, 3)]
    with MetricsLog(tmp_path, 0) as log:
        for line in lines:
            log.write(line)

    def die(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        MetricsLog(tmp_path, 2)
    assert read_metrics(tmp_path) == lines
