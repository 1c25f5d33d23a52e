import pytest

from detaux.config import load_config
from detaux.errors import UserError
from detaux.multitask.check import check_multitask


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["methods=[stl,nddr]", "backbone=hrnet_w18"], r"hrnet_w18 has no stages, after which nddr fuses"),
        (["control_methods=[maxl]"], r"control_methods has maxl, which reads no labels"),
        (["methods=[maxl]", "mixup=0.2"], r"maxl of multitask\.methods needs whole"),
    ],
)
def test_setting_that_a_method_cannot_train_with_is_refused(keys, fault):
    with pytest.raises(UserError, match=fault):
        check_multitask(load_config(None, [f"multitask.{key}" for key in keys]).multitask)


@pytest.mark.parametrize(
    ("keys", "user", "extra"),
    [
        (["methods=[mti]"], "methods with mti needs the Python package timm", "timm"),
        (["methods=[mti+dwa]"], "methods with mti needs the Python package timm", "timm"),
        (["backbone=hrnet_w18"], "backbone=hrnet_w18 needs the Python package timm", "timm"),
        (["methods=[hard_sharing+mgda]"], "rule [+]mgda needs the Python package torchjd", "torchjd"),
        (["control_methods=[nddr+mgda]"], "rule [+]mgda needs the Python package torchjd", "torchjd"),
        (["backbone=efficientnet_lite0", "pretrained=package"], "pretrained=package needs", "efficientnet"),
    ],
)
def test_package_that_is_not_installed_is_named_with_its_extra(keys, user, extra, monkeypatch):
    config = load_config(None, [f"multitask.{key}" for key in keys]).multitask
    check_multitask(config)
    monkeypatch.setattr("detaux.runtime.packages.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"{user}.*detaux\[{extra}\]"):
        check_multitask(config)
