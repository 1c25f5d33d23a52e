import json
import os
import threading
import time

import pytest

from detaux.artefacts import METRICS_NAME
from detaux.runtime.metrics import MetricsLog, flatten, read_metrics


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


class Recorder:
    name = "recorder"

    def __init__(self, step=0, fails_at=None):
        self.step, self.fails_at, self.steps, self.ends = step, fails_at, [], []

    def write(self, line):
        if line["step"] == self.fails_at:
            raise ConnectionError("gone")
        self.step = line["step"]
        self.steps.append(line["step"])

    def close(self, error):
        self.ends.append(type(error))


def test_mirror_gets_the_kept_lines_it_lacks_and_every_new_one_once(tmp_path):
    with MetricsLog(tmp_path, 0) as log:
        for step in (1, 2, 3, 4):
            log.write({"step": step})
    new, behind, ahead = Recorder(), Recorder(step=1), Recorder(step=4)
    with MetricsLog(tmp_path, 3) as log:
        log.start_mirrors([new, behind, ahead])
        log.write({"step": 4})
        log.write({"step": 5})
    assert (new.steps, behind.steps, ahead.steps) == ([1, 2, 3, 4, 5], [2, 3, 4, 5], [5])


def test_file_that_another_hand_spoils_ends_the_mirrors_with_the_error_and_not_the_training(tmp_path, caplog):
    mirror = Recorder()
    with MetricsLog(tmp_path, 0) as log:
        (tmp_path / METRICS_NAME).write_text("no JSON\n")
        log.start_mirrors([mirror])
        log.write({"step": 1})
    assert (mirror.steps, mirror.ends) == ([], [json.JSONDecodeError])
    assert "recorder has failed" in caplog.text


def test_mirror_that_fails_stops_neither_the_log_nor_the_others(tmp_path, caplog):
    failing, sound = Recorder(fails_at=2), Recorder()
    with MetricsLog(tmp_path, 0) as log:
        log.start_mirrors([failing, sound])
        for step in (1, 2, 3):
            log.write({"step": step})
    assert (failing.steps, failing.ends) == ([1], [ConnectionError])  # it may keep what it has
    assert (sound.steps, sound.ends) == ([1, 2, 3], [type(None)])
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    assert caplog.messages == [
        "recorder has failed and gets no more lines, while metrics.jsonl does: ConnectionError('gone')"
    ]


def test_mirror_learns_what_ended_the_log(tmp_path):
    mirror, log = Recorder(), MetricsLog(tmp_path, 0)
    log.start_mirrors([mirror])
    with pytest.raises(ZeroDivisionError), log:
        raise ZeroDivisionError
    assert mirror.ends == [ZeroDivisionError]


class Waiting(Recorder):
    """A mirror that takes no line before it may."""

    def __init__(self):
        super().__init__()
        self.may_write = threading.Event()

    def write(self, line):
        assert self.may_write.wait(30)
        super().write(line)


def test_log_waits_for_a_slow_mirror_at_its_end_alone_and_gives_it_every_line_in_order(tmp_path):
    slow = Waiting()
    with MetricsLog(tmp_path, 0) as log:
        log.start_mirrors([slow])
        for step in range(1, 501):
            log.write({"step": step, "note": "x" * step})
        assert slow.steps == []
        slow.may_write.set()
    assert slow.steps == [line["step"] for line in read_metrics(tmp_path)] == list(range(1, 501))
    assert slow.ends == [type(None)]


def test_mirror_has_a_line_before_the_next_one_comes(tmp_path):
    mirror, deadline = Recorder(), time.monotonic() + 30
    with MetricsLog(tmp_path, 0) as log:
        log.start_mirrors([mirror])
        for step in (1, 2, 3):
            log.write({"step": step})
            while mirror.step < step and time.monotonic() < deadline:
                time.sleep(0.001)
            assert mirror.steps[-1] == step


def test_line_that_a_full_disk_cut_off_reaches_no_mirror(tmp_path):
    mirror = Recorder()
    with MetricsLog(tmp_path, 0) as log:
        log.start_mirrors([mirror])
        log.write({"step": 1})
        with (tmp_path / METRICS_NAME).open("a") as stream:
            stream.write('{"step": 2, "lo')
    assert (mirror.steps, mirror.ends) == ([1], [type(None)])


def test_flat_line_spells_lists_out_and_leaves_null_out():
    line = {"step": 1, "oracle/share": [0.5, None, 0.25], "lr": None, "phase": "main"}
    assert flatten(line) == {"step": 1, "oracle/share/0": 0.5, "oracle/share/2": 0.25, "phase": "main"}
