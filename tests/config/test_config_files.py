"""Configs that are based on other configs, against configs written out in full."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detaux.config import config_files, load_config
from detaux.errors import UserError


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a config file under a name and returns its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_config_with_a_base_equals_the_config_written_out(write):
    write("sets/digits.yaml", "data: {source: digits, side: 16}\nmultitask: {epochs: 7, seeds: 4}\n")
    path = write("tables/one.yaml", "base: ../sets/digits.yaml\nmultitask: {seeds: 2}\n")
    whole = write("whole.yaml", "data: {source: digits, side: 16}\nmultitask: {epochs: 7, seeds: 2}\n")
    assert load_config(path) == load_config(whole)


def test_later_bases_replace_earlier_ones_and_a_base_has_bases_of_its_own(write):
    write("first.yaml", "multitask: {epochs: 1, seeds: 1, batch_size: 1}\n")
    write("second.yaml", "base: first.yaml\nmultitask: {epochs: 2, seeds: 2}\n")
    write("third.yaml", "multitask: {epochs: 3}\n")
    config = load_config(write("last.yaml", "base: [second.yaml, third.yaml]\n"), ["multitask.lr=0.5"])
    one = config.multitask
    assert (one.epochs, one.seeds, one.batch_size, one.lr) == (3, 2, 1, 0.5)


def test_same_file_may_be_the_base_of_two_bases(write):
    write("common.yaml", "multitask: {epochs: 4}\n")
    for name in ("left", "right"):
        write(f"{name}.yaml", f"base: common.yaml\nrun: {{dir: {name}}}\n")
    config = load_config(write("both.yaml", "base: [left.yaml, right.yaml]\n"))
    assert (config.multitask.epochs, config.run.dir) == (4, "right")


def test_file_named_many_times_is_read_once(write, monkeypatch):
    read, seen = config_files.read_yaml, []
    monkeypatch.setattr(config_files, "read_yaml", lambda text: seen.append(text) or read(text))
    write("0.yaml", "multitask: {epochs: 4}\n")
    for number in range(1, 9):
        write(f"{number}.yaml", f"base: [{number - 1}.yaml, ../{write('x', '').parent.name}/{number - 1}.yaml]\n")
    assert load_config(write("top.yaml", "base: 8.yaml\n")).multitask.epochs == 4
    assert len(seen) == 10


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=2, max_size=7))
def test_bases_named_several_times_equal_the_files_one_after_the_other(write, bases):
    def expand(number):
        return [inner for base in bases[number] if base < number for inner in expand(base)] + [number]

    keys = ("epochs", "seeds", "batch_size", "least_steps")
    values = [{keys[number % 4]: 10 + number, keys[(number + 1) % 4]: 20 + number} for number in range(len(bases))]
    for number, names in enumerate(bases):
        lower = ", ".join(f"f{name}.yaml" for name in names if name < number)
        path = write(f"f{number}.yaml", f"base: [{lower}]\nmultitask: {values[number]}\n")
    expected = {}
    for number in expand(len(bases) - 1):
        expected |= values[number]
    one = load_config(path).multitask
    assert {name: getattr(one, name) for name in expected} == expected


def test_more_files_than_a_config_may_have_are_refused(write):
    for number in range(1, 2000):
        write(f"{number}.yaml", f"base: {number - 1}.yaml\n")
    write("0.yaml", "multitask: {epochs: 4}\n")
    assert load_config(write("top.yaml", "base: 98.yaml\n")).multitask.epochs == 4
    for last in (99, 1999):
        with pytest.raises(UserError, match=rf"/{last - 99}\.yaml is one too many: .* may have 100 files at most\.$"):
            load_config(write("top.yaml", f"base: {last}.yaml\n"))


def test_links_to_one_file_have_the_bases_of_their_own_folders(write, tmp_path):
    shared = write("shared/one.yaml", "base: base.yaml\n")
    for name, key in (("left", "epochs"), ("right", "seeds")):
        write(f"{name}/base.yaml", f"multitask: {{{key}: 9}}\n")
        (tmp_path / name / "one.yaml").symlink_to(shared)
    one = load_config(write("top.yaml", "base: [left/one.yaml, right/one.yaml]\n")).multitask
    assert (one.epochs, one.seeds) == (9, 9)


def test_mistake_in_a_base_names_the_base(write):
    base = write("base.yaml", "multitask: {epoch: 3}\n")
    with pytest.raises(UserError, match=rf"config file {base}: unknown key multitask\.epoch"):
        load_config(write("top.yaml", "base: base.yaml\n"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("base: top.yaml\n", "is based on itself"),
        ("base: missing.yaml\n", r"missing\.yaml, which \S+top\.yaml names as base, does not exist"),
        ("base: .\n", r"which \S+top\.yaml names as base, is a folder"),
        ("base: ''\n", r"top\.yaml: base='' is not allowed; expected a file or a list of files"),
        ("base: [' ']\n", "is not allowed; expected a file or a list of files"),
        ("base: ~nobody-of-this-name/a.yaml\n", "names no home folder of this machine"),
        ("base: 3\n", "base=3 is not allowed; expected a file or a list of files"),
        ("base: {a: b}\n", "expected a file or a list of files"),
    ],
)
def test_wrong_base_is_refused_in_one_sentence(write, text, sentence):
    with pytest.raises(UserError, match=sentence):
        load_config(write("top.yaml", text))


def test_file_whose_name_begins_with_an_underscore_is_only_a_base(write):
    base = write("_rows.yaml", "multitask: {epochs: 4}\n")
    assert load_config(write("top.yaml", "base: _rows.yaml\n")).multitask.epochs == 4
    with pytest.raises(UserError, match=rf"^config file {base} is only a base of other files, .* give one of those\.$"):
        load_config(base)


def test_base_in_the_home_folder_is_found(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("home/mine.yaml", "multitask: {epochs: 9}\n")
    assert load_config(write("top.yaml", "base: ~/mine.yaml\n")).multitask.epochs == 9


def test_files_based_on_each_other_are_refused(write):
    write("one.yaml", "base: two.yaml\n")
    with pytest.raises(UserError, match="is based on itself"):
        load_config(write("two.yaml", "base: one.yaml\n"))
