"""Plan restarts: train the same disentangler from several seeds, because seeds may separate different factors."""

from dataclasses import replace
from pathlib import Path

from detaux.config import Config
from detaux.stages import MODEL

SEED_STEP = 1_000_003  # distance of the seeds of two restarts, so that runs with neighbouring seeds share none


def list_restarts(folder: Path, count: int) -> list[Path]:
    """Return the folders of the restarts in a run's `disentangle` folder. The first is that folder itself."""
    return [folder, *(folder / f"restart_{number}" for number in range(1, count))]


def seed_restart(config: Config, number: int) -> Config:
    """Return the config of restart `number`. It has its own seed, and `model.restarts` is 1."""
    seed = (config.run.seed + number * SEED_STEP) % 2**31
    return replace(config, run=replace(config.run, seed=seed), model=replace(config.model, restarts=1))


def list_models(folder: Path, config: Config) -> dict[str, Path]:
    """Return the models that discovery reads, by their names in its record: `model`, `model_1`, ..."""
    places = list_restarts(folder, config.model.restarts)
    return {
        f"{MODEL.name}_{number}" if number else MODEL.name: place / MODEL.file for number, place in enumerate(places)
    }
