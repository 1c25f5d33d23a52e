import pytest

from detaux.config import dump_config, load_config
from detaux.config.together import check_together
from detaux.errors import UserError


@pytest.mark.parametrize(
    ("name", "network"), [("multitask.pretrained", "small_cnn"), ("multitask.mti.pretrained", "hrnet_w18_small_v2")]
)
def test_config_read_back_may_name_a_file_that_has_gone(name, network, tmp_path):
    config = load_config(None, [f"{name}={tmp_path}/gone.safetensors"])
    dump_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    with pytest.raises(UserError, match=rf"{name}=.*gone\.safetensors does not exist; .* of {network}'s weights"):
        check_together(config)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["controls=[random]", "control_methods=[]"], "control_methods is empty; give a method"),
        (["controls=[random,oracle]"], "oracle is empty; name the factor"),
    ],
)
def test_controls_that_lack_a_method_or_a_factor_are_refused(keys, fault):
    config = load_config(None, [f"multitask.{key}" for key in keys])
    with pytest.raises(UserError, match=fault):
        check_together(config)
    check_together(load_config(None, ["multitask.controls=[oracle]", "multitask.oracle=hue"]))
    check_together(load_config(None, ["multitask.controls=[]", "multitask.control_methods=[]"]))


@pytest.mark.parametrize(
    "key", ["discover.choose=recognition", "discover.min_recognition=0.7", "discover.min_attraction=0.4"]
)
def test_recognition_needs_cross_prediction(key):
    with pytest.raises(
        UserError, match=r"scores of cross-prediction, which need discover\.cross_prediction\.rounds of at least 1"
    ):
        check_together(load_config(None, [key]))
    check_together(load_config(None, [key, "discover.cross_prediction.rounds=1"]))


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("model.encoder=resnet18_map", "needs a code that is one vector"),
        ("model.latent=1", "needs a code that is one vector"),
        ("model.projector_hidden=8", "is below model.latent=16"),
    ],
)
def test_conditional_model_needs_a_vector_code_and_wide_projectors(key, fault):
    with pytest.raises(UserError, match=fault):
        check_together(load_config(None, ["model.conditional=true", key]))
    check_together(load_config(None, [key]))


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["model.conditional=true", "disentangle.warmup.steps=0"], "leaves the code untrained"),
        (["disentangle.warmup.steps=0", "disentangle.main.steps=0"], "leave nothing to train"),
    ],
)
def test_run_that_trains_nothing_is_refused(keys, fault):
    with pytest.raises(UserError, match=fault):
        check_together(load_config(None, keys))
    check_together(load_config(None, keys[1:]))


def test_hard_images_without_a_conditional_model_are_refused():
    keys = ["disentangle.hard_fraction=0.5", "model.conditional=true"]
    with pytest.raises(
        UserError, match=r"disentangle\.hard_fraction=0\.5 belongs to the warm-up of a conditional model"
    ):
        check_together(load_config(None, keys[:1]))
    check_together(load_config(None, keys))


def test_loss_of_positions_without_maps_is_refused():
    keys = ["multitask.mti.loss=pixel", "multitask.mti.head=pooled"]
    with pytest.raises(UserError, match=r"multitask\.mti\.loss=pixel needs the maps of multitask\.mti\.head=aggregate"):
        check_together(load_config(None, keys))
    for key in keys:
        check_together(load_config(None, [key]))


@pytest.mark.parametrize(
    "key",
    [
        "weights=[0.5,1,0.5]",
        "weights=[0.1234567,0.1234568]",
        "methods=[stl,hard_sharing,stl]",
        "controls=[random,random]",
        "correlated_nmi=[0.3,0.3]",
    ],
)
def test_value_that_stands_twice_in_a_list_is_refused(key):
    name = key.partition("=")[0]
    with pytest.raises(UserError, match=rf"multitask\.{name}=.* twice, to six digits; give each once"):
        check_together(load_config(None, [f"multitask.{key}"]))


def test_rule_needs_a_weight_above_0():
    keys = ["multitask.weights=[0]", "multitask.methods=[stl,hard_sharing+dwa]"]
    with pytest.raises(UserError, match=r"has no weight above 0, which the rule of hard_sharing\+dwa needs"):
        check_together(load_config(None, keys))
    check_together(load_config(None, ["multitask.weights=[0]"]))


def test_shift_out_of_view_is_refused():
    with pytest.raises(UserError, match=r"multitask\.crop=16 is not below data\.side=16"):
        check_together(load_config(None, ["multitask.crop=16", "data.side=16"]))
    check_together(load_config(None, ["multitask.crop=15", "data.side=16"]))


def test_methods_without_a_weight_need_none():
    keys = ["multitask.weights=[]", "multitask.controls=[]"]
    check_together(load_config(None, [*keys, "multitask.methods=[stl,stl_long,maxl,auxilearn]"]))
    with pytest.raises(UserError, match="weights is empty"):
        check_together(load_config(None, [*keys, "multitask.methods=[stl,auxilearn_combine]"]))


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (["sources=[features]"], r"sources has features and discover\.features is empty; give a file"),
        (["features=efficientnet_lite0"], r"=efficientnet_lite0 and discover\.sources=\['subspace'\] has no features"),
        (["sources=[features]", "features={folder}/a.txt"], r"a\.txt is no \.npy, \.npz or \.safetensors file"),
        (["sources=[subspace,features]", "features={folder}/gone.npz"], r"gone\.npz does not exist; give a \.npy"),
    ],
)
def test_features_and_their_source_go_together(keys, fault, tmp_path):
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "a.npy").write_text("1")
    with pytest.raises(UserError, match=fault):
        check_together(load_config(None, [f"discover.{key.format(folder=tmp_path)}" for key in keys]))
    for value in ("efficientnet_lite0", f"{tmp_path}/a.npy"):
        check_together(load_config(None, ["discover.sources=[features]", f"discover.features={value}"]))


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("discover.sources=[]", "names no source of candidates"),
        ("discover.sources=[graph, graph]", "names a source twice"),
    ],
)
def test_sources_are_named_once_and_at_least_one(key, sentence):
    with pytest.raises(UserError, match=sentence):
        check_together(load_config(None, [key]))


@pytest.mark.parametrize("rule", ["paper", "official", "invariance", "agreement"])
def test_rule_needs_a_source_whose_candidates_have_its_score(rule):
    keys = [f"discover.choose={rule}", "discover.sources=[graph]"]
    with pytest.raises(UserError, match=r"reads a score that no candidate of discover\.sources=\['graph'\] has"):
        check_together(load_config(None, keys))
    check_together(load_config(None, [keys[0], "discover.sources=[graph, subspace]"]))


@pytest.mark.parametrize("keys", [["data.source=digits"], ["data.source=folder"]])
def test_facts_of_files_need_a_folder_of_pictures(keys, tmp_path):
    with pytest.raises(UserError, match=r"has files, which reads single pictures below data\.path, and data\.source="):
        check_together(load_config(None, ["discover.sources=[files]", *keys]))
    check_together(load_config(None, ["discover.sources=[files]", "data.source=folder", f"data.path={tmp_path}"]))


def test_share_of_recombined_images_that_rounds_to_none_is_refused():
    keys = ["multitask.batch_size=32"]
    with pytest.raises(UserError, match=r"multitask\.recombine=0\.015 of multitask\.batch_size=32 is less than half"):
        check_together(load_config(None, [*keys, "multitask.recombine=0.015"]))
    check_together(load_config(None, [*keys, "multitask.recombine=0.016"]))
