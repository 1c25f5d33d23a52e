"""Every candidate that passes, against discovery.json and gallery.npz: its numbers, pictures, shape and classes."""

import io
import json

import numpy as np
import pytest
from pages import read_table, read_tags, read_text
from PIL import Image

from detaux.config.schema import ReportConfig
from detaux.report.build import build_report
from detaux.report.collect import load_run
from detaux.report.images import compose_ring
from detaux.report.passing import build_continua, build_passing, describe_shape


@pytest.fixture
def change(run_folder, edit_json):
    """change(edit): the run after an edit of discovery.json."""

    def apply(edit=lambda discovery: None):
        edit_json(run_folder / "discover" / "discovery.json", edit)
        return load_run(run_folder, "demo")

    return apply


def test_section_of_each_passing_candidate_has_the_numbers_of_discovery_json(change):
    first, second = build_passing(change())
    assert (first.title, first.mark, second.title, second.mark) == (
        "subspaces 2 + 4",
        "chosen",
        "subspace 1",
        "",
    )
    assert first.facts == {
        "Kind": "subspace",
        "Clusters": "4, and 3.1% of the images in none",
        "Shape": "4 separate values",
        "Separation": "1.310",
        "Validity": "0.655",
        "Stability": "0.980",
        "Shared with scale": "NMI 0.004, AMI 0.001",
        "Relation": "unrelated",
        "Found again as": "baseline: latents within class",
    }
    assert second.facts["Shape"] == (
        "a ring: the angle explains 96% of the variance, the centre holds 0.0% of the images, and the largest gap has "
        "3 degrees; the clusters cut it"
    )
    assert "Found again as" not in second.facts


def test_scores_of_cross_prediction_are_shown_if_there_are_any(change):
    scores = {"recognition": 0.91, "cross_agreement": 0.99, "cross_reproducibility": 0.95, "cross_undecided": 0.033}
    scores["attraction"] = 0.82
    run = change(lambda discovery: discovery["candidates"][0]["scores"].update(scores))
    facts = build_passing(run)[0].facts
    shown = ("Recognition", "Cross-predicted agreement", "Cross-predicted reproducibility", "Undecided share")
    assert [facts[name] for name in shown] == ["0.910", "0.990", "0.950", "0.033"]
    assert facts["Attraction of the borders"] == "0.820"


@pytest.mark.parametrize("relation", ["related", "unrelated", None])
def test_relation_to_the_principal_label_is_shown_if_it_is_known(change, relation):
    run = change(lambda discovery: discovery["candidates"][0].update(relation=relation))
    assert build_passing(run)[0].facts.get("Relation") == relation


def test_pictures_are_those_of_the_candidate_and_its_clusters(change):
    run = change()
    first, second = build_passing(run)
    assert [row.title for row in first.rows] == ["Unchanged", *(f"Cluster {label}" for label in range(4))]
    assert [row.title for row in second.rows] == ["Unchanged", *(f"Cluster {label}" for label in range(5))]
    assert first.rows[0].surest is None
    assert (first.ordered, second.ordered is not None) == (None, True)
    with Image.open(io.BytesIO(second.rows[3].surest.png)) as image:
        strip = np.asarray(image.convert("RGB"))
    is_own = (run.gallery["passing_of"] == 1) & (run.gallery["passing_labels"] == 2)
    np.testing.assert_array_equal(strip[:, :32], run.gallery["passing_examples"][is_own][0])
    with Image.open(io.BytesIO(second.rows[3].recombined.png)) as image:
        strip = np.asarray(image.convert("RGB"))
    is_own = (run.gallery["recombined_of"] == 1) & (run.gallery["recombined_labels"] == 2)
    np.testing.assert_array_equal(strip[:, -32:], run.gallery["recombined"][is_own][0][-1])


def test_line_that_does_not_pass_is_shown_as_one(change):
    (line,) = build_continua(change())
    assert line.title == "subspace 5"
    assert line.text == "a line: the place along it explains 98% of the variance"
    assert line.picture.width == 8 * 32 + 7 * 2


def test_page_shows_two_passing_candidates_and_their_classes(found_page):
    tags = read_tags(found_page)
    shown = [attributes for tag, attributes in tags if tag == "div" and attributes.get("class") == "passing"]
    assert len(shown) == 2
    discovery = json.loads((found_page.parents[1] / "discover" / "discovery.json").read_text())
    for entry in discovery["passing"]:
        counted, name = entry["classes_by_cluster"], f"passing-{entry['index']}"
        titles, rows = read_table(found_page, name)
        assert titles == ["scale", *(f"cluster {one}" for one in counted["clusters"][:-1]), "no cluster"]
        assert [[int(cell) for cell in row[1:]] for row in rows] == counted["counts"]
        assert [row[0] for row in rows] == counted["classes"]
        assert (found_page.parent / "tables" / f"{name}.csv").is_file()


def test_page_without_a_passing_candidate_has_no_such_section(nothing_page):
    assert "Every hidden task that passes" not in read_text(nothing_page)
    assert not [tag for tag, attributes in read_tags(nothing_page) if attributes.get("class") == "passing"]


@pytest.mark.usefixtures("unrendered")
def test_run_of_an_earlier_release_is_shown_without_these_sections(run_folder, edit_json):
    def forget(discovery):
        del discovery["passing"]
        for one in discovery["candidates"]:
            one.pop("shape", None)
            one.pop("source", None)

    edit_json(run_folder / "discover" / "discovery.json", forget)
    path = run_folder / "discover" / "gallery.npz"
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays if not name.startswith(("passing", "recombined", "ordered"))}
    np.savez(path, **kept)
    text = read_text(build_report([run_folder], run_folder / "report", ReportConfig()))
    assert "Every hidden task that passes" not in text
    assert "Lines and rings" not in text
    assert "Detaux found a hidden task: 4 clusters" in text


@pytest.mark.usefixtures("unrendered")
def test_lost_gallery_leaves_the_numbers(run_folder):
    (run_folder / "discover" / "gallery.npz").unlink()
    first, second = build_passing(load_run(run_folder, "demo"))
    assert first.rows == second.rows == []
    assert "Every hidden task that passes" in read_text(
        build_report([run_folder], run_folder / "report", ReportConfig())
    )


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (None, "not judged"),
        ({"kind": "cloud", "parts": 1, "explained": 0.3, "hole": 0.1, "gap": 2.0}, "a cloud without gaps"),
        ({"kind": "clusters", "parts": 3, "explained": None, "hole": None, "gap": None}, "3 separate values"),
        ({"kind": "clusters", "parts": None, "explained": None, "hole": None, "gap": None}, "many separate values"),
    ],
)
def test_shape_is_said_in_words(shape, words):
    assert describe_shape(shape) == words


def test_pictures_on_a_ring_stand_at_their_angles_and_do_not_overlap():
    """A quarter turn goes from the right to the top; the pictures have a grey value each."""
    greys = np.arange(8) * 20 + 50
    pictures = np.broadcast_to(greys[:, None, None, None].astype(np.uint8), (8, 10, 10, 3))
    found = compose_ring(pictures, 45.0 * np.arange(8), 10, "eight")
    with Image.open(io.BytesIO(found.png)) as image:
        pixels = np.asarray(image.convert("RGBA"))
    assert pixels.shape[:2] == (found.height, found.width)
    visible = pixels[..., 3] > 0
    assert visible.sum() == 8 * 100
    middle = (found.width - 1) / 2
    for grey, degrees in zip(greys, 45 * np.arange(8), strict=True):
        rows, columns = np.nonzero((pixels[..., 0] == grey) & visible)
        angle = np.degrees(np.arctan2(middle - rows.mean(), columns.mean() - middle)) % 360
        assert abs((angle - degrees + 180) % 360 - 180) < 2
