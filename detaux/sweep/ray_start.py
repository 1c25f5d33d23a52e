"""Join a running Ray cluster, or start Ray on this machine."""

import math
import os
from typing import Any

from detaux.config.schema import SweepConfig
from detaux.errors import UserError

LONGEST_TEMPORARY = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.12")
SPARE_CPUS = 16  # logical CPUs beyond those of the trials, because a trial that ASHA stopped may keep its share


def start_ray(settings: SweepConfig) -> None:
    """Join the Ray at RAY_ADDRESS. If it is unset, start one here with more logical CPUs than the trials can hold.

    Raises UserError if no Ray answers at RAY_ADDRESS, or if this machine has too few GPUs.
    """
    check_socket_room()
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(**quiet)
        except ConnectionError as error:
            lines = str(error).strip().splitlines()
            raise UserError(
                f"RAY_ADDRESS={address} cannot be joined ({lines[-1] if lines else 'no answer'}); set it to the "
                "address of a running Ray, or unset it."
            ) from None
        return
    attempts = settings.trials * (1 + settings.retries)
    cpus = math.ceil(attempts * settings.ranks * max(1.0, settings.cpus)) + SPARE_CPUS
    ray.init("local", num_cpus=cpus, include_dashboard=False, **quiet)  # never joins another Ray
    gpus, wanted = ray.cluster_resources().get("GPU", 0), settings.ranks * settings.gpus
    if gpus < wanted:  # the trials would wait for ever; a cluster, in contrast, may grow
        raise UserError(
            f"sweep.gpus={settings.gpus:g} x sweep.ranks={settings.ranks} is more than the {gpus:g} GPUs that Ray finds here; "
            "lower one, or set RAY_ADDRESS."
        )


def check_socket_room() -> None:
    """Raise UserError if the path of the folder for temporary files is too long for the sockets of Ray."""
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if (excess := len(os.fsencode(os.path.abspath(folder))) - LONGEST_TEMPORARY) > 0:
        raise UserError(
            f"{name}={folder} is {excess} bytes too long, because Ray makes sockets in it with paths of at most 107 "
            "bytes; set RAY_TMPDIR to a shorter path, such as /tmp."
        )
