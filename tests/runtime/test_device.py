import importlib.util
import subprocess
import sys

import pytest
import torch

from detaux.config.schema import RunConfig
from detaux.errors import UserError
from detaux.runtime.device import has_triton, select_device


def test_device_cpu_is_kept():
    assert select_device(RunConfig(device="cpu")) == torch.device("cpu")


def test_device_auto_follows_what_torch_finds(monkeypatch):
    for is_there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_there=is_there: is_there)
        assert select_device(RunConfig(device="auto")).type == kind


def test_device_cuda_without_a_gpu_is_a_user_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"run\.device=cuda"):
        select_device(RunConfig(device="cuda"))


def test_device_sets_threads_only_where_asked():
    before = torch.get_num_threads()
    try:
        select_device(RunConfig(device="cpu", threads=0))
        assert torch.get_num_threads() == before
        select_device(RunConfig(device="cpu", threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_peak_memory_holds_the_largest_tensor_after_it_is_gone():
    code = """
import torch
from detaux.runtime.device import read_peak_bytes
before = read_peak_bytes(torch.device("cpu"))
torch.ones(before, dtype=torch.uint8)
print(before, read_peak_bytes(torch.device("cpu")))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, result.stdout.split())
    # the peak of a new process begins with that of the one it was forked from
    assert before < after < 2.5 * before


@pytest.mark.parametrize(
    ("package", "cc", "compilers", "expected"),
    [
        (object(), "", {"gcc"}, True),
        (object(), "", {"clang"}, True),
        (object(), "icx", {"icx"}, True),
        (object(), "icx", {"gcc"}, False),  # Triton takes CC at its word
        (object(), "", set(), False),
        (None, "", {"gcc"}, False),
    ],
)
def test_triton_needs_its_package_and_a_compiler_by_any_of_its_names(
    package, cc, compilers, expected, tmp_path, monkeypatch
):
    for name in compilers:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", cc)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    assert has_triton() is expected
