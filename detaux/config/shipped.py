"""Find the files that come with Detaux beside its code: the files of launch/ and the configs of the paper."""

from pathlib import Path


def find_shipped(name: str) -> Path | None:
    """Find a file such as launch/slurm.sbatch or configs/paper/cars.yaml; return None if it is not installed.

    It is next to the package in a checkout, or under share/detaux if pip installed it.
    """
    checkout = Path(__file__).parents[2] / name
    if checkout.is_file():
        return checkout
    from importlib import metadata  # imported here, since it takes a tenth of the time of `detaux --help`

    parts = ("detaux", *Path(name).parts)
    for file in metadata.files("detaux") or ():
        if file.parts[-len(parts) :] == parts:
            return Path(str(file.locate()))
    return None
