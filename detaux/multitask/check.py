"""Check the settings of the stage before any stage runs: it would find a mistake only after hours."""

from importlib.util import find_spec

from detaux.config.schema import PACKAGE, WEIGHT_PACKAGES, MultitaskConfig
from detaux.errors import UserError
from detaux.multitask import aggregators
from detaux.multitask.trials import check_methods

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
        if is_used and find_spec("timm") is None:
            raise UserError(f"{user} needs the Python package timm; run `pip install 'detaux[timm]'`.")
    package, extra = WEIGHT_PACKAGES.get(config.backbone, ("", ""))
    if config.pretrained == PACKAGE and package and find_spec(package) is None:
        raise UserError(
            f"multitask.pretrained={PACKAGE} needs the Python package {package}; run `pip install 'detaux[{extra}]'`."
        )
