"""Restarts: the same disentangler trained from several seeds, since not every seed separates the same factors."""

from dataclasses import replace
from pathlib import Path

from detaux.artefacts import MODEL_FILE
from detaux.config import Config

SEED_STEP = 1_000_003  # between the seeds of two restarts; runs with neighbouring seeds share none


def list_restarts(folder: Path, count: int) -> list[Path]:
    """Where the models of the restarts lie in a run's `disentangle` folder; the first is the folder itself."""
    return [folder, *(folder / f"restart_{number}" for number in range(1, count))]


def seed_restart(config: Config, number: int) -> Config:
    """The config that restart `number` trains by: one training, whatever the number of restarts."""
    seed = (config.run.seed + number * SEED_STEP) % 2**31
    return replace(config, run=replace(config.run, seed=seed), model=replace(config.model, restarts=1))


def list_models(folder: Path, config: Config) -> dict[str, Path]:
    """The models that discovery reads, by the names its record hashes them under: `model`, `model_1`, ..."""
    places = list_restarts(folder, config.model.restarts)
    return {f"model_{number}" if number else "model": place / MODEL_FILE for number, place in enumerate(places)}
