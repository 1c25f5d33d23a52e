from collections import Counter
from types import SimpleNamespace

from torch.autograd import DeviceType


def make_event(key, device_type=DeviceType.CPU, host=0, device=0):
    """One of the profiler's averages, times in microseconds over all steps."""
    times = {"self_cpu_time_total": host, "self_device_time_total": device}
    return SimpleNamespace(key=key, device_type=device_type, count=20, **times)


def read_rows(text):
    """Rows of the printed tables, by their first words."""
    return {line[:44].strip(): line[44:].split() for line in text.splitlines() if line.strip()}


def test_table_of_a_profiler_without_times_has_those_of_the_clock(load, capsys):
    """On a GPU a range stands twice in the averages, the second time without a time of the host."""
    program = load("profile_step")
    events = [make_event("step"), make_event("step", DeviceType.CUDA), make_event("aten::mm"), make_event("backward")]
    program.print_table(Counter({"step": 0.2, "backward": 0.15}), events)
    rows = read_rows(capsys.readouterr().out)
    assert rows["a step"] == ["10.000"]
    assert rows["backward"] == ["7.500", "75.0%"]
    assert rows["forward and losses"] == ["0.000", "0.0%"]
    assert rows["the rest"] == ["2.500", "25.0%"]
    assert rows["aten::mm"] == ["0.000", "0.000", "0.0%", "1"]


def test_operators_are_ordered_by_the_device_where_it_has_times(load, capsys):
    program = load("profile_step")
    events = [
        make_event("aten::copy_", host=9_000),
        make_event("aten::mm", host=1_000, device=8_000),
        make_event("void gemm", DeviceType.CUDA, device=8_000),
    ]
    program.print_table(Counter({"step": 0.02}), events)
    rows = read_rows(capsys.readouterr().out)
    assert [name for name in rows if "aten" in name or "gemm" in name] == ["aten::mm", "aten::copy_"]
    assert rows["aten::mm"] == ["0.050", "0.400", "40.0%", "1"]
