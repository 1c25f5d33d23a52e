"""What the report says in words, against what the run's files hold."""

from detaux.report.collect import load_run
from detaux.report.sentences import describe_scarcity


def test_scarce_labels_are_counted(run_folder, edit_json):
    assert describe_scarcity(load_run(run_folder, "demo")) == (
        "270 of 2,700 training images have a principal label; no stage saw more."
    )
    path = run_folder / "multitask" / "metrics.json"
    edit_json(path, lambda multitask: multitask["facts"].update(labelled_images=2700))
    assert describe_scarcity(load_run(run_folder, "demo")) is None
    edit_json(path, lambda multitask: multitask.pop("facts"))
    assert describe_scarcity(load_run(run_folder, "demo")) is None
