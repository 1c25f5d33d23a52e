import pytest

from detaux.config import load_config
from detaux.errors import UserError


def test_old_name_of_a_key_is_refused_with_the_new_one(tmp_path):
    with pytest.raises(UserError, match=r"discover\.noise is called discover\.outliers now"):
        load_config(None, ["discover.noise=nearest"])


@pytest.mark.parametrize(
    ("key", "advice"), [("mixtures=true", "discover.sources"), ("max_principal_nmi=1", "related_nmi")]
)
def test_key_that_was_removed_is_refused_with_what_takes_its_place(key, advice):
    with pytest.raises(UserError, match=rf"there is no discover\.\w+ any more; .*{advice}"):
        load_config(None, [f"discover.{key}"])


def test_old_name_of_a_choice_is_refused_with_the_new_one():
    with pytest.raises(UserError, match=r"uncertainty is called hard_sharing\+uncertainty now"):
        load_config(None, ["multitask.methods=[uncertainty]"])


def test_frozen_config_of_an_older_release_loads_by_the_new_names(tmp_path):
    path = tmp_path / "config.yaml"
    discover = "{source: encoder, mixtures: false, max_principal_nmi: 1.0, noise: nearest, max_noise_share: 0.2}"
    path.write_text(f"{{discover: {discover}, multitask: {{methods: [stl, uncertainty]}}}}")
    config = load_config(path, is_frozen=True)
    assert config.discover.sources == ["encoder"]
    assert (config.discover.outliers, config.discover.max_outlier_fraction) == ("nearest", 0.2)
    assert config.multitask.methods == ["stl", "hard_sharing+uncertainty"]
