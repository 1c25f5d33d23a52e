"""The recorded values, and how others are compared with them: bit by bit on the machine that recorded them, elsewhere what does
not depend on how floats are rounded, and the first steps within a tolerance."""

import json
import math
import os
import re
from importlib.metadata import version
from pathlib import Path

import torch
from golden.cases import RENAMED

PATH = Path(__file__).with_name("golden.json")
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "hdbscan", "pillow")
BITWISE, WITHIN = "bitwise", "tolerance"
# On another machine: a float32 sum of n products differs by about sqrt(n) * 6e-8 of its size, n at most 10^4 here, which is 6e-6;
# each of the first steps multiplies that by what Adam's division makes of small gradients, by 10 or so at these learning rates.
STEPS, TOLERANCE = 3, 1e-3
EXACT = (r"/exit code$", r"/manifest\.json:", r"/labels\.parquet:key$")
SERIES = (r"/metrics\.jsonl:", r"/curves\.jsonl:")


def read_processor():
    """The processor's name for itself; empty where the system does not tell."""
    try:
        found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else ""


def read_machine():
    """What the last bits of a float depend on."""
    return {
        **{name: version(name).split("+")[0] for name in PACKAGES},
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "processor": read_processor(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def read_golden():
    return json.loads(PATH.read_text())


def choose_comparison(golden):
    """BITWISE where this machine is like the one that recorded, WITHIN elsewhere."""
    return BITWISE if golden["machine"] == read_machine() else WITHIN


def rename(name):
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def list_differences(old, new, name):
    """(name, old, new) of everything in a recorded tree that is not the same, type and bits, in the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [one for key in old for one in list_differences(old[key], new.get(key, MISSING), f"{name}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [one for index, (a, b) in pairs for one in list_differences(a, b, f"{name}[{index}]")]
    same = type(old) is type(new) and (old == new or (old != old and new != new))
    return [] if same and str(old) == str(new) else [(name, old, new)]  # -0.0 is not 0.0


class _Missing:
    def __repr__(self):
        return "(missing)"


MISSING = _Missing()


def is_close(old, new):
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_close, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(is_close(old[key], new[key]) for key in old)
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return old == new


def compare(case, old, new, how):
    """(differences, number of values compared) of the recorded values of a case and the new ones.

    A difference is (name, old, new). New names are no difference.
    """
    differences, compared = [], 0
    by_hash = {value: name for name, value in new.items() if isinstance(value, str)}
    for name, value in old.items():
        full = f"{case}/{name}"
        found = new.get(rename(full).removeprefix(f"{case}/"), MISSING)
        if how == BITWISE or any(re.search(pattern, full) for pattern in EXACT):
            parts = list_differences(value, found, full)
            if found is MISSING and isinstance(value, str) and value in by_hash:
                parts = [(full, value, f"(missing; the same is called {by_hash[value]})")]
        elif any(re.search(pattern, full) for pattern in SERIES) and isinstance(value, list):
            first = found[:STEPS] if isinstance(found, list) else found
            parts = [] if is_close(value[:STEPS], first) else [(full, value[:STEPS], first)]
        else:
            continue
        differences, compared = differences + parts, compared + 1
    return differences, compared


def format_table(differences, limit=None):
    """The lines of a table of differences: name, old, new."""
    shown = differences[:limit]
    rows = [("value", "old", "new"), *((name, repr(old), repr(new)) for name, old, new in shown)]
    rows = [(name, old[:60], new[:60]) for name, old, new in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    left = len(differences) - len(shown)
    return [*lines, f"and {left} more"] if left else lines
