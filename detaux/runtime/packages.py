"""Check that an optional package is installed before anything depends on it."""

from importlib.util import find_spec

from detaux.errors import UserError


def require_package(package: str, extra: str, user: str) -> None:
    """Raise UserError if a package is not installed. `user` is what needs it, and `extra` the extra that brings it."""
    if find_spec(package) is None:
        raise UserError(f"{user} needs the Python package {package}; run `pip install 'detaux[{extra}]'`.")
