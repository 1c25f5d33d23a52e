"""Whole runs of the real program, small: a person's folder of pictures, and rendered scenes."""

import json

import numpy as np
import pytest
from PIL import Image

SMALL = (
    "run.threads=1",
    "run.device=cpu",
    "model.subspaces=4",
    "model.restarts=1",
    "disentangle.warmup.steps=10",
    "disentangle.warmup.batch_size=16",
    "disentangle.main.steps=10",
    "disentangle.main.batch_size=16",
    "discover.stability_samples=1",
    "multitask.epochs=2",
    "multitask.least_steps=0",
    "multitask.controls=[random, within_class, rotation]",
    "multitask.seeds=2",
    "multitask.weights=[0.5]",
)
SCENES = (  # k-means always finds a task, however short the training
    "data.grid=[3,3,4,3,2,1]",
    "data.side=16",
    "discover.clusterer=kmeans",
    "discover.clusters=3",
    "discover.min_oracle_fraction=0",
    "model.restarts=2",
)
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "LA", "I;16", "1")


def save_picture(path, mode, draw, *, brightness):
    """A noisy picture of one brightness, in any mode and an odd size."""
    size = (int(draw.integers(20, 60)), int(draw.integers(20, 60)))
    values = (brightness + 40 * draw.random((*size, 3))).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(values)
    if mode == "I;16":
        Image.fromarray(values[..., 0].astype(np.uint16) * 257).save(path.with_suffix(".png"))
        return
    picture = picture.convert(mode)
    suffix = {"CMYK": ".jpg", "P": ".gif"}.get(mode, ".png")
    exif = Image.Exif()
    exif[0x0112] = int(draw.integers(1, 9))
    picture.save(path.with_suffix(suffix), **({"exif": exif} if suffix == ".jpg" else {}))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three hundred pictures of two classes in every mode, forty without a label, two that are broken."""
    root, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, brightness, count in (("day", 160, 150), ("night", 20, 110), ("unlabelled", 90, 40)):
        (root / name).mkdir()
        for number in range(count):
            shade = brightness + 60 * (number % 2)
            save_picture(root / name / f"{number:03d}", MODES[number % len(MODES)], draw, brightness=shade)
    (root / "day" / "cut.jpg").write_bytes((root / "day" / "004.jpg").read_bytes()[:200])
    (root / "night" / "text.png").write_text("no picture at all")
    return root


def test_folder_of_mixed_pictures_gives_a_report_and_names_the_broken_ones(photos, tmp_path, detaux):
    keys = ("data.source=folder", f"data.path={photos}", f"run.dir={tmp_path}/run", "data.labelled_fraction=0.5")
    exit_code, output = detaux("run", "configs/quickstart.yaml", *SMALL, *keys)
    assert exit_code in (0, 3), output
    assert "Traceback" not in output
    report = tmp_path / "run" / "report" / "report.html"
    page = report.read_text(encoding="utf-8")
    for name in ("day/cut.jpg", "night/text.png"):
        assert name in output
        assert name in page
    manifest = json.loads((tmp_path / "run" / "shards" / "manifest.json").read_text())
    assert sum(shard["samples"] for shard in manifest["shards"]) == 300
    assert manifest["classes"] == ["day", "night"]


def test_rendered_scenes_with_scarce_labels_run_to_the_table_and_again_skip_every_stage(tmp_path, detaux):
    keys = (*SCENES, "data.labelled_fraction=0.3", f"run.dir={tmp_path}/run")
    exit_code, output = detaux("run", "configs/quickstart.yaml", *SMALL, *keys)
    assert exit_code == 0, output
    metrics = json.loads((tmp_path / "run" / "multitask" / "metrics.json").read_text())
    facts = metrics["facts"]
    assert 0.25 < facts["labelled_images"] / facts["train_images"] < 0.4
    assert not facts["uses_ground_truth"]
    assert {row["labels"] for row in metrics["rows"]} == {"none", "discovered", "random", "within_class", "rotation"}
    exit_code, output = detaux("run", "configs/quickstart.yaml", *SMALL, *keys)
    assert exit_code == 0
    assert output.count("unchanged") == 4


def draw_noise(draw):
    return draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)


def draw_grey(draw):
    return np.full((16, 16, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("classes", "images", "picture", "expected", "sentence"),
    [
        (2, 300, draw_noise, 3, "no hidden task was found"),
        (2, 60, draw_grey, 3, "no hidden task was found"),
        (3, 3, draw_noise, 3, "no hidden task was found"),
        (1, 1, draw_noise, 2, "1 of its sub-folders hold files; at least two, one per class, are needed"),
        (3, 2, draw_noise, 2, "has 2 samples to train on and to draw test and validation from; 3 are needed"),
    ],
)
def test_pictures_without_a_hidden_task_end_with_a_sentence(
    classes, images, picture, expected, sentence, tmp_path, detaux
):
    draw = np.random.default_rng(0)
    for number in range(classes):
        (tmp_path / "pictures" / f"class{number}").mkdir(parents=True)
        for image in range(images):
            Image.fromarray(picture(draw)).save(tmp_path / "pictures" / f"class{number}" / f"{image}.png")
    keys = ("data.source=folder", f"data.path={tmp_path}/pictures", "data.side=16", f"run.dir={tmp_path}/run")
    exit_code, output = detaux("run", "configs/quickstart.yaml", *SMALL, *keys)
    assert exit_code == expected, output
    assert "Traceback" not in output
    assert sentence in output
    if expected == 3:
        assert "Why none" in (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_upper_bound_is_marked_in_every_output(tmp_path, detaux):
    keys = (*SCENES, "pairs.partner=one_factor", f"run.dir={tmp_path}/run")
    exit_code, output = detaux("run", "configs/quickstart.yaml", *SMALL, *keys)
    assert exit_code == 0, output
    run = tmp_path / "run"
    assert "upper bound" in output
    assert json.loads((run / "discover" / "discovery.json").read_text())["pairs"]["uses_ground_truth"]
    assert json.loads((run / "multitask" / "metrics.json").read_text())["facts"]["uses_ground_truth"]
    assert json.loads((run / "disentangle" / "metrics.jsonl").read_text().splitlines()[-1])["uses_ground_truth"]
    assert "upper bound" in (run / "report" / "report.html").read_text(encoding="utf-8")
    tables = list((run / "report" / "tables").glob("*.csv"))
    assert tables
    assert all("upper_bound" in path.read_text(encoding="utf-8").splitlines()[0] for path in tables)
