"""Check the settings of the stage before any stage runs: it would find a mistake only after hours."""

from detaux.config.schema import FROZEN, WEIGHT_PACKAGES, DiscoverConfig
from detaux.discover.feature_file import read_features
from detaux.discover.layout import require_layout
from detaux.runtime.packages import require_package


def check_discover(config: DiscoverConfig) -> None:
    """Raise UserError if a source needs a package that is not installed, or features that cannot be read."""
    for source in ("layout", "features"):
        if source in config.sources:
            require_layout(f"discover.sources with {source}")
    if "features" not in config.sources or config.features is None:
        return
    if config.features == FROZEN:
        require_package(*WEIGHT_PACKAGES[FROZEN], f"discover.features={FROZEN}")
    else:
        read_features(config.features)
