import pytest

from detaux.errors import UserError
from detaux.sweep.ray_start import check_socket_room


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_folder_too_long_for_rays_sockets_is_refused_by_the_variable_that_names_it(monkeypatch, name):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, f"/tmp/{'x' * 60}")
    with pytest.raises(
        UserError,
        match=rf"{name}=/tmp/x+ is \d+ bytes too long, because Ray makes sockets.*to a shorter path",
    ):
        check_socket_room()


def test_short_folder_of_ray_makes_up_for_a_long_one_of_the_system(monkeypatch):
    monkeypatch.setenv("TMPDIR", f"/tmp/{'x' * 60}")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_socket_room()
