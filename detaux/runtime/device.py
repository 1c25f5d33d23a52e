"""Pick the device and the number of threads once, as the config says."""

import torch

from detaux.config.schema import RunConfig
from detaux.errors import UserError


def select_device(config: RunConfig) -> torch.device:
    """The torch device of `run.device`; raises UserError where cuda is asked for and absent."""
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device=cuda but torch finds no GPU; use run.device=auto or run.device=cpu.")
    if config.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")
