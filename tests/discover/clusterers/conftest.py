import pytest

from detaux.discover.clusterers import blocks, spanning_tree


@pytest.fixture(scope="module")
def small_blocks():
    """Blocks of the spanning tree so small that a few points fill many."""
    patch = pytest.MonkeyPatch()
    patch.setattr(blocks, "BLOCK", 8)
    patch.setattr(spanning_tree, "TILE_BLOCKS", 2)
    yield
    patch.undo()
