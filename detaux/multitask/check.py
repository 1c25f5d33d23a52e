"""Check the settings of the stage before any stage runs: it would find a mistake only after hours."""

from detaux.backbones.pretrained import find_in_package
from detaux.config.schema import PACKAGE, MultitaskConfig
from detaux.errors import UserError
from detaux.multitask import aggregators
from detaux.multitask.trials import check_methods
from detaux.runtime.packages import require_package

HRNET = "hrnet"  # begins the names of the backbones that timm has


def check_multitask(config: MultitaskConfig) -> None:
    """Raise UserError if a method cannot train as the config asks, or needs a package that is not installed."""
    check_methods(config)
    methods = [*config.methods, *(config.control_methods if config.controls else [])]
    aggregators.check_packages(methods)
    names = {method.partition("+")[0] for method in methods}
    if "nddr" in names and config.backbone.startswith(HRNET):
        raise UserError(
            f"multitask.backbone={config.backbone} has no stages, after which nddr fuses; use another backbone, or leave nddr "
            "out of multitask.methods."
        )
    users = {
        "multitask.methods with mti": "mti" in names,
        f"multitask.backbone={config.backbone}": config.backbone.startswith(HRNET),
    }
    for user, is_used in users.items():
        if is_used:
            require_package("timm", "timm", user)
    if config.pretrained == PACKAGE:
        find_in_package(config.backbone, "multitask.pretrained")
