import subprocess
import sys

import pytest
import torch

from detaux.errors import UserError
from detaux.losses import backends
from detaux.losses.backends import choose_backend

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_auto_is_triton_on_a_gpu_that_has_it_and_the_reference_elsewhere(monkeypatch):
    assert choose_backend("auto", CPU) == "reference"
    monkeypatch.setattr(backends, "HAS_TRITON", True)
    assert choose_backend("auto", GPU) == "triton"
    monkeypatch.setattr(backends, "HAS_TRITON", False)
    assert choose_backend("auto", GPU) == "reference"


def test_backend_asked_for_by_name_is_the_one(monkeypatch):
    monkeypatch.setattr(backends, "HAS_TRITON", True)
    for device in (CPU, GPU):
        assert choose_backend("reference", device) == "reference"
    assert choose_backend("triton", GPU) == "triton"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_backend("triton", CPU) == "triton"


def test_triton_is_refused_without_its_package_and_on_a_cpu(monkeypatch):
    monkeypatch.setattr(backends, "HAS_TRITON", False)
    with pytest.raises(UserError, match="losses.backend=triton needs the package triton and a C compiler"):
        choose_backend("triton", GPU)
    monkeypatch.setattr(backends, "HAS_TRITON", True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UserError, match="losses.backend=triton needs a GPU and the device is cpu"):
        choose_backend("triton", CPU)


def test_triton_is_not_imported_before_it_is_used():
    code = "import sys, detaux.disentangle.objective; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
