import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detaux.config import Config, dump_config, load_config
from detaux.config.frozen import config_to_dict, read_config_tree
from detaux.config.load import describe_allowed, format_help, get_value, iterate_fields
from detaux.errors import UserError

RANGED = [
    (dotted, entry, hint)
    for dotted, entry, hint in iterate_fields()
    if hint in (int, float) and entry.metadata.get("low") is not None
]


def write(folder, text):
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_layers_give_the_defaults():
    assert load_config(None) == Config()


def test_dumped_config_loads_to_an_equal_config(tmp_path):
    config = load_config(
        None,
        [
            "data.principal={odd: [1, 3], even: [0, 2]}",
            "data.grid=[2, 2, 2, 2, 2, 1]",
            "run.dir=runs/é 1",
            "multitask.weights=[0.1, 2]",
            "losses.schedule.beta1.shape=fall",
        ],
    )
    dump_config(config, tmp_path / "config.yaml")
    loaded = load_config(tmp_path / "config.yaml")
    assert loaded == config
    assert list(loaded.data.principal) == ["odd", "even"]


@given(st.sampled_from(RANGED), st.floats(0, 1))
def test_value_within_range_is_kept_exactly(field, place):
    dotted, entry, hint = field
    low, high = entry.metadata["low"], entry.metadata["high"]
    value = hint(low + place * ((high if high is not None else low + 100) - low))
    assert get_value(load_config(None, [f"{dotted}={value!r}"]), dotted) == value


@pytest.mark.parametrize(("dotted", "entry"), [(dotted, entry) for dotted, entry, _ in RANGED])
def test_value_out_of_range_is_refused_with_the_range(dotted, entry):
    for bound, beyond in ((entry.metadata["low"], -1), (entry.metadata["high"], 1)):
        if bound is not None:
            with pytest.raises(UserError, match=rf"{dotted}=.* is out of range; expected .*{bound:.15g}"):
                load_config(None, [f"{dotted}={bound + beyond}"])


def test_range_holds_for_numbers_written_as_text(tmp_path):
    with pytest.raises(UserError, match="data.workers=-5 is out of range"):
        load_config(write(tmp_path, "data: {workers: '-5'}"))


@pytest.mark.parametrize("text", ["off", "'off'"])
def test_off_is_a_choice_and_not_false(text, tmp_path):
    (tmp_path / "config.yaml").write_text(f"track: {{wandb: {text}}}")
    for config in (load_config(None, [f"track.wandb={text}"]), load_config(tmp_path / "config.yaml")):
        assert config.track.wandb == "off"
    dump_config(config, tmp_path / "again.yaml")
    assert load_config(tmp_path / "again.yaml") == config
    with pytest.raises(UserError, match="track.wandb"):
        load_config(None, ["track.wandb=true"])


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_number_with_exponent_is_read_in_yaml_and_override(tmp_path, text):
    assert load_config(write(tmp_path, f"disentangle: {{main: {{lr: {text}}}}}")).disentangle.main.lr == 0.001
    assert load_config(None, [f"disentangle.main.lr={text}"]).disentangle.main.lr == 0.001


def test_later_layer_wins_over_earlier(tmp_path):
    path = write(tmp_path, "run: {seed: 1, device: cpu}")
    config = load_config(path, ["run.seed=2", "run.seed=3"])
    assert (config.run.seed, config.run.device, config.run.threads) == (3, "cpu", Config().run.threads)


def test_default_is_set_again_over_another_value():
    other = load_config(None, ["run.seed=3", "data.grid=[1, 1, 1, 1, 1, 1]", "data.path=there"])
    keys = ["run.seed=0", f"data.grid={Config().data.grid}", "data.path=null"]
    assert load_config(None, keys, base=other) == Config()
    assert load_config(None, ["run.seed=3", "data.grid=[1]", "data.path=there", *keys]) == Config()


@pytest.mark.parametrize("override", ["run.seed=false", "run.seed=0.0", "discover.merge=1", "data.noise=false"])
def test_value_that_only_equals_the_default_is_refused(override):
    with pytest.raises(UserError, match="is not allowed"):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("data.sied=32", "data.side"),
        ("disentagle.main.lr=1", "disentangle.main.lr"),
        ("pairs.partners=mined", "pairs.partner"),
        ("losses.margin=1", "losses.distance.margin"),
        ("min_cluster_fractoin=0.1", "discover.min_cluster_fraction"),
    ],
)
def test_unknown_key_names_the_nearest_key_and_what_it_takes(override, nearest):
    allowed = {dotted: describe_allowed(entry, hint) for dotted, entry, hint in iterate_fields()}[nearest]
    with pytest.raises(UserError) as caught:
        load_config(None, [override])
    assert f"unknown key {override.partition('=')[0]}; the nearest is {nearest} ({allowed})." in str(caught.value)


def test_unknown_key_far_from_all_names_the_sections():
    with pytest.raises(UserError, match="unknown key zzz.q; the sections are run, data, pairs"):
        load_config(None, ["zzz.q=1"])


@pytest.mark.parametrize(
    "override",
    [
        "data.source=imagenet",
        "data.workers=two",
        "run.seed=1.5",
        "run.seed=true",
        "discover.merge=1",
        "data.grid=5",
        "data.grid=[1.5]",
        "multitask.weights=[a]",
        "run.dir=",
        "run.dir=???",
        "pairs.partner={mined: 1}",
        "losses.schedule.beta1.shape=null",
    ],
)
def test_wrong_type_or_choice_names_key_and_allowed(override):
    with pytest.raises(UserError, match="is not allowed; expected") as caught:
        load_config(None, [override])
    assert override.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.path=${oc.env:DETAUX_UNSET}", "Environment variable 'DETAUX_UNSET' not found"),
        ("run.dir=runs/${nowhere}", "Interpolation key 'nowhere' not found"),
        ("run.dir=runs/${", r"its \$\{...\} cannot be read; write \\\$\{ for the characters"),
    ],
)
def test_value_that_cannot_be_filled_in_is_refused_with_what_it_lacks(override, reason):
    with pytest.raises(UserError, match=f"cannot be filled in: {reason}"):
        load_config(None, [override])


@pytest.mark.parametrize(
    "text",
    [
        "photos #2",
        "2024_05_01",
        "007",
        "12:30",
        "no",
        "1e3",
        "'quoted'",
        "a: b",
        "[1",
        "2024-05-01",
        "~",
        "null",
        " x ",
    ],
)
def test_text_stays_as_it_was_typed_on_the_command_line_and_in_the_file(tmp_path, text):
    assert load_config(None, [f"run.dir={text}"]).run.dir == text
    dump_config(load_config(None, [f"run.dir={text}"]), tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").run.dir == text


@pytest.mark.parametrize("text", ["2024_05_01", "007", "12:30", "no", "1e3", "0x1F", "2024-05-01", "2024-99-99", "-.5"])
def test_unquoted_text_of_a_file_is_no_number_and_no_truth_value(tmp_path, text):
    config = load_config(write(tmp_path, f"run: {{dir: {text}}}\ndata: {{path: {text}, principal: {text}}}"))
    assert (config.run.dir, config.data.path, config.data.principal) == (text, text, text)


def test_names_in_a_mapping_of_classes_stay_as_they_were_typed(tmp_path):
    wanted = {"no": ["001", "008"], "yes": ["1_0", "12:30"]}
    assert load_config(None, ["data.principal={no: [001, 008], yes: [1_0, 12:30]}"]).data.principal == wanted
    file = write(tmp_path, "data:\n  principal:\n    no: [001, 008]\n    yes: [1_0, 12:30]\n")
    assert load_config(file).data.principal == wanted


def test_mapping_of_numbers_is_read_in_yaml_and_override_and_replaced_as_a_whole(tmp_path):
    for config in (
        load_config(write(tmp_path, "data:\n  correlate:\n    wall_hue: 9e-1\n    007: 1\n")),
        load_config(None, ["data.correlate={a: 0.5}", "data.correlate={wall_hue: 9e-1, 007: 1}"]),
    ):
        assert config.data.correlate == {"wall_hue": 0.9, "007": 1.0}
        dump_config(config, tmp_path / "again.yaml")
        assert load_config(tmp_path / "again.yaml") == config
    assert load_config(None, ["data.correlate={}"], base=config) == Config()
    assert "data.correlate={}" in format_help(["data"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.correlate.wall_hue=0.9", "takes a whole mapping .*; give data.correlate={wall_hue: VALUE}"),
        ("data.correlate={a: 1.5}", "data.correlate=1.5 is out of range; expected mapping to float from 0 to 1"),
        *(
            (f"data.correlate={value}", "is not allowed; expected mapping to float from 0 to 1")
            for value in ("3", "[0.5]", "null", "{a: x}", "{a: true}", "{a: [1]}", "{a: {b: 1}}", "{a: null}")
        ),
    ],
)
def test_mapping_of_numbers_refuses_anything_else(override, message):
    with pytest.raises(UserError, match=f"data.correlate.*{message}"):
        load_config(None, [override])


@pytest.mark.parametrize("text", ["p${x}", "a\\${b", "\\\\${c}", "${run.dir}", "back\\slash", "$x {y}"])
def test_frozen_config_keeps_text_that_looks_like_an_interpolation(tmp_path, text):
    config = dataclasses.replace(Config(), data=dataclasses.replace(Config().data, path=text))
    dump_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert read_config_tree(tmp_path / "config.yaml")["data"]["path"] == text


@pytest.mark.parametrize(
    "text",
    [
        "data: {path: '${oc.env:DETAUX_SECRET}'}",
        "data: {shards: 'pipe:cat {name}'}",
        "data: {principal: {a: ['${run.dir}']}}",
        "data: {principal: {'${run.dir}': [a]}}",
        "data: {shards: 'https://host/\\\\${oc.env:DETAUX_SECRET}'}",
        "data: {principal: !!null '${oc.env:DETAUX_SECRET}'}",
    ],
)
def test_safe_loading_refuses_commands_and_the_environment(tmp_path, monkeypatch, text):
    monkeypatch.setenv("DETAUX_SECRET", "hunter2")
    load_config(write(tmp_path, text))
    with pytest.raises(UserError, match="which --safe refuses"):
        load_config(write(tmp_path, text), is_safe=True)


def test_text_is_refused_by_safe_exactly_where_it_would_read_the_environment(monkeypatch):
    monkeypatch.setenv("DETAUX_SECRET", "hunter2")
    for parts in itertools.product(["\\", "$", "{", "${oc.env:DETAUX_SECRET}"], repeat=4):
        text = f"data.path=x{''.join(parts)}"
        try:
            loaded = load_config(None, [text]).data.path
        except UserError:  # $${ and the like, which nothing fills in
            continue
        if "hunter2" in loaded:
            with pytest.raises(UserError, match="which --safe refuses"):
                load_config(None, [text], is_safe=True)
        else:
            assert load_config(None, [text], is_safe=True).data.path == loaded


@pytest.mark.parametrize(
    "text",
    [
        'run: {dir: "a\\0b"}',
        'data: {path: "\\0"}',
        'data: {principal: {a: ["b\\0"]}}',
        'data: {principal: {"a\\0": [b]}}',
        'sweep: {space: {a: "\\0"}}',
        'multitask: {methods: ["\\0"]}',
    ],
)
def test_text_with_a_nul_character_is_refused_by_its_key(tmp_path, text):
    with pytest.raises(UserError, match=r"config\.yaml: \w+\.\w+='.*' holds a NUL character"):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.grid=['${data.grid}']"], "data.grid=.* cannot be filled in"),
        (["multitask.weights=['${data.grid}']"], "multitask.weights=.* cannot be filled in"),
        (["data.workers=${data.side}", "data.side=512"], "data.workers=512 is out of range"),
        ([f"run.seed={'9' * 400}"], "run.seed=9+ is out of range"),
        ([f"sweep.space={'[' * 95}{']' * 95}"], "sweep.space is nested too deeply"),
        ([f"data.principal={'{a: ' * 95}1{'}' * 95}"], "data.principal is nested too deeply"),
    ],
)
def test_value_that_only_shows_its_fault_when_it_is_filled_in_is_refused(overrides, message):
    with pytest.raises(UserError, match=f"^argument .*: {message}"):
        load_config(None, overrides)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]",
        "a: " + "[" * 600 + "]" * 600,
        "a: !!binary x",
    ],
)
def test_yaml_that_would_not_end_or_be_built_is_refused_by_name(tmp_path, text):
    with pytest.raises(UserError, match="is not valid YAML"):
        load_config(write(tmp_path, text))


def test_folder_called_like_a_config_is_said_to_be_one(tmp_path):
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(UserError, match=r"config file \S+/d\.yaml is a folder"):
        load_config(tmp_path / "d.yaml")


@pytest.mark.parametrize("value", [".inf", "nan", "-.inf"])
def test_value_that_is_not_finite_is_refused(value):
    with pytest.raises(UserError, match="out of range"):
        load_config(None, [f"disentangle.main.lr={value}"])


@pytest.mark.parametrize("title", ["2024", "yes", "a: b", "[draft", "1_000", "Detaux"])
def test_text_key_keeps_the_words_of_the_command_line(title):
    assert load_config(None, [f"report.title={title}"]).report.title == title


def test_null_on_the_command_line_empties_an_optional_key(tmp_path):
    assert load_config(write(tmp_path, "data: {path: /there}"), ["data.path=null"]).data.path is None


def test_section_without_keys_changes_nothing(tmp_path):
    assert load_config(write(tmp_path, "discover:\nlosses: {schedule: {beta1: }}\n")) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {side: 32", "not valid YAML"),
        ("- data", "holds a list; a mapping"),
        ("data: 5", "data is a section"),
        ("run: {seed: 1, seed: 2}", "seed stands twice"),
        ("data: {side: 32}\ndata: {noise: 0}", "data stands twice"),
        ("data: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_malformed_file_is_named_with_its_fault(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "config.yaml" in str(caught.value)


def test_missing_file_names_the_nearest_file(tmp_path):
    path = write(tmp_path, "")
    with pytest.raises(UserError, match=f"config.yml does not exist; the nearest is {path}"):
        load_config(tmp_path / "config.yml")


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_config(None).run.seed = 1


def test_every_key_has_a_meaning_and_stands_in_the_help():
    sections = list(config_to_dict(Config()))
    text = format_help(sections)
    for dotted, entry, hint in iterate_fields():
        assert entry.metadata["meaning"], dotted
        assert f"{dotted}=" in text
        assert describe_allowed(entry, hint) in text


def test_mapping_of_a_later_layer_replaces_the_one_before(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("sweep: {space: {model.latent: {integer: [4, 8]}, pairs.walk: {choice: [0, 2]}}}")
    loaded = load_config(file, ["sweep.space={model.latent: {choice: [4, 8]}}"])
    assert loaded.sweep.space == {"model.latent": {"choice": [4, 8]}}
