import pytest
import torch

from detaux.config.schema import DiscoverConfig
from detaux.discover.backends import CLUSTERERS, load_clusterer
from detaux.discover.clusterers import limit as limit_module
from detaux.discover.clusterers.limit import Limit, check_limit, hold_limit

TORCH = [name for name, backends in CLUSTERERS.items() if "torch" in backends]


def test_limit_counts_from_its_start_and_says_how_far_it_is(monkeypatch):
    clock, said = [0.0], []
    monkeypatch.setattr(limit_module.time, "monotonic", lambda: clock[0])
    limit = Limit(25.0, said.append)
    for now in (5.0, 11.0, 12.0, 22.0):
        clock[0] = now
        limit.check()
    assert said == [11.0, 22.0]
    clock[0] = 26.0
    with pytest.raises(TimeoutError):
        limit.check()
    limit.start()
    limit.check()


def test_check_without_a_limit_passes_and_one_within_another_comes_first():
    check_limit()
    with hold_limit(Limit(0.0, lambda _: None)):
        with hold_limit(Limit(-1.0, lambda _: None)), pytest.raises(TimeoutError):
            check_limit()
        check_limit()
    check_limit()


@pytest.mark.parametrize("name", TORCH)
def test_every_clusterer_of_ours_heeds_a_limit(name):
    points = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    with hold_limit(Limit(-1.0, lambda _: None)), pytest.raises(TimeoutError):
        load_clusterer(name, "torch")(points, DiscoverConfig(clusters=3), 0)
