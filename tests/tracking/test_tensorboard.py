import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from detaux.config import load_config
from detaux.runtime.metrics import MetricsLog, flatten, read_metrics
from detaux.tracking.mirrors import open_mirrors
from detaux.tracking.tensorboard import EVENTS_NAME

CONFIG = load_config(None, ["track.tensorboard=true"])


def read_events(folder):
    events = EventAccumulator(str(folder / EVENTS_NAME), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_events_of_a_resumed_log_equal_its_metrics(tmp_path):
    for begin, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        with MetricsLog(tmp_path, begin) as metrics:
            metrics.start_mirrors(open_mirrors(CONFIG, "disentangle", tmp_path, "inputs", ()))
            for step in steps:
                share = [0.25, 0.125 * begin]
                metrics.write({"step": step, "phase": "main", "is_x": True, "oracle/share": share, "lr": None})
    events, lines = read_events(tmp_path), [flatten(line) for line in read_metrics(tmp_path)]
    assert set(events) == {"step", "oracle/share/0", "oracle/share/1"}
    for tag, values in events.items():
        assert values == [(line["step"], pytest.approx(line[tag])) for line in lines]
    assert [step for step, _ in events["step"]] == [1, 2, 3, 4]
