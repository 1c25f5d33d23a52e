"""The charts of a training, by the keys of metrics.jsonl that each shows: the one table behind all dashboards."""

from detaux.config import Config
from detaux.config.load import get_value

ORACLE_SHARE = "oracle/share"  # a list with a share for each subspace

PANELS = {
    "losses": (
        "loss/total",
        "loss/reconstruction",
        "loss/distance",
        "loss/sparsity",
        "loss/consistency",
        "loss/regularization",
        "loss/principal_contrast",
        "loss/neighbour_contrast",
    ),
    "betas": ("beta/1", "beta/2", "beta/3"),
    "oracle use": (ORACLE_SHARE,),
    "pairs": ("pairs/different_share",),
    "gradient norm": ("grad_norm",),
    "samples a second": ("samples_per_second",),
    "data wait": ("data_wait_share",),
    "memory": ("memory_bytes",),
    "learning rate": ("lr",),
}
WEIGHTS = {  # of the terms that are computed only where their weight is not 0
    "loss/consistency": "losses.weights.consistency",
    "loss/regularization": "losses.weights.regularization",
    "loss/principal_contrast": "pairs.principal_contrast",
    "loss/neighbour_contrast": "pairs.neighbour_contrast",
}


def list_panels(config: Config) -> dict[str, list[str]]:
    """The panels of a config: keys it will log, lists as a dashboard names their elements."""
    panels = {}
    for title, keys in PANELS.items():
        used = [key for key in keys if key not in WEIGHTS or get_value(config, WEIGHTS[key]) > 0]
        is_list = ORACLE_SHARE in used
        panels[title] = [f"{ORACLE_SHARE}/{index}" for index in range(config.model.subspaces)] if is_list else used
    return panels
