import sys

import pytest

from detaux import doctor
from detaux.doctor import list_backends, list_packages, print_diagnosis, read_memory_bytes, read_version


def test_absent_package_is_said_to_be_absent():
    assert read_version("no-such-distribution") == "not installed"
    assert all(version for _, version, _ in list_packages())


def test_optional_packages_are_found_without_importing_them(monkeypatch):
    for name in ("deepspeed", "ray", "wandb", "optuna", "cupy", "cuml", "triton"):
        monkeypatch.setitem(sys.modules, name, None)  # an import would fail
    assert {"deepspeed", "ray", "wandb"} <= {name for name, _, _ in list_packages()}


def test_broken_torch_is_told_and_not_raised(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    rows = {what: (choice, why) for what, choice, why in list_backends()}
    assert rows["device"][0] == "none"
    assert "torch cannot be imported" in rows["device"][1]


def test_clusterer_is_what_the_automatic_backend_takes(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    rows = {what: (choice, why) for what, choice, why in list_backends()}
    assert rows["clusterer"] == ("cpu", "discover.backend=auto: on a CPU the libraries are faster than torch")


@pytest.mark.parametrize(("limit", "expected"), [("max", None), ("1048576", 1048576), ("9" * 25, None)])
def test_memory_is_the_lesser_of_machine_and_container(tmp_path, monkeypatch, limit, expected):
    monkeypatch.setattr(doctor, "CGROUP_MEMORY", tmp_path / "absent")
    machine = read_memory_bytes()
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(doctor, "CGROUP_MEMORY", tmp_path / "memory.max")
    assert read_memory_bytes() == (expected or machine)


def test_install_lines_are_printed_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    print_diagnosis()
    assert "pip install 'detaux[wandb]'" in capsys.readouterr().out


def test_both_settings_that_need_timm_are_named():
    reason = doctor.OPTIONAL["timm"]
    assert "multitask.backbone=hrnet_w18" in reason
    assert "multitask.methods=[mti]" in reason
