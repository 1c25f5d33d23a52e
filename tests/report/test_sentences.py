"""What the report says in words, against what the run's files hold."""

from detaux.report.collect import load_run
from detaux.report.sentences import describe_rule, describe_scarcity
from detaux.report.tables import build_candidates


def test_scarce_labels_are_counted(run_folder, edit_json):
    assert describe_scarcity(load_run(run_folder, "demo")) == (
        "270 of 2,700 training images have a principal label; no stage saw more."
    )
    path = run_folder / "multitask" / "metrics.json"
    edit_json(path, lambda multitask: multitask["facts"].update(labelled_images=2700))
    assert describe_scarcity(load_run(run_folder, "demo")) is None
    edit_json(path, lambda multitask: multitask.pop("facts"))
    assert describe_scarcity(load_run(run_folder, "demo")) is None


def test_official_rule_is_described_as_computed(run_folder, edit_json):
    edit_json(run_folder / "discover" / "discovery.json", lambda discovery: discovery.update(rule="official"))
    run = load_run(run_folder, "demo")
    assert "the smallest of: absolute value of the mean over images of <s_alpha, s_j>" in describe_rule(run)
    assert "|mean dot| (rule)" in [column.title for column in build_candidates(run).columns]
