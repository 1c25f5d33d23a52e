"""The paper's numbers, held against each other: differences that the paper prints against its own accuracies."""

import re
from pathlib import Path

import pytest

from detaux.config import load_config
from detaux.config.schema.methods import MtiConfig
from detaux.report.paper_cells import fill_cells, list_misprints
from detaux.report.published import CELLS, DATASETS, DIFFERS, NOTES, TABLES

ROOT = Path(__file__).parents[2]


def find_cell(table, row, column):
    return next(one for one in CELLS if (one.table, one.row, one.column) == (table, row, column))


def test_only_the_known_misprint_is_no_difference_of_the_papers_numbers():
    found = [
        (row["dataset"], row["row"], change) for name in TABLES for row, change in list_misprints(fill_cells(name, []))
    ]
    assert found == [("shapes3d", "MTL-HPS + Detaux", pytest.approx(0.764))]
    assert find_cell("table1", "MTL-HPS + Detaux", "3D Shapes").change == 0.746


def test_third_table_has_the_papers_eight_numbers():
    """Read off the paper."""
    assert {(cell.dataset, cell.measure): cell.value for cell in CELLS if cell.table == "table3"} == {
        ("faces", "nmi"): 0.1405,
        ("faces", "ami"): 0.1390,
        ("cifar10", "nmi"): 0.0033,
        ("cifar10", "ami"): 0.0031,
        ("svhn", "nmi"): 0.0033,
        ("svhn", "ami"): 0.0030,
        ("cars", "nmi"): 0.0311,
        ("cars", "ami"): 0.0085,
    }


def test_cells_count_is_that_of_the_paper():
    counts = {name: sum(cell.table == name for cell in CELLS) for name in TABLES}
    assert counts == {"table1": 6 * 4 + 2, "table2": 5 * 2, "table3": 4 * 2}
    assert len({(cell.table, cell.row, cell.column) for cell in CELLS}) == len(CELLS)


def test_second_table_repeats_the_numbers_of_the_first():
    for title in ("FACES", "Cars"):
        assert find_cell("table2", "STL", title).value == find_cell("table1", "STL", title).value
        hps = find_cell("table1", "MTL-HPS + Detaux", title)
        assert find_cell("table2", "HDBSCAN", title).value == hps.value


def test_best_of_each_real_data_set_is_mti_as_the_paper_prints_in_bold():
    for name in ("faces", "cifar10", "svhn", "cars"):
        cells = [cell for cell in CELLS if (cell.table, cell.dataset) == ("table1", name)]
        assert max(cells, key=lambda cell: cell.value).row == "MTI + Detaux"


def test_every_row_has_a_sentence_on_what_differs():
    assert set(DIFFERS) == {(cell.table, cell.row) for cell in CELLS}
    assert all(text.endswith(".") for text in DIFFERS.values())
    assert {cell.dataset for cell in CELLS} == set(DATASETS)


def test_quoted_cell_is_that_with_the_papers_star():
    assert [(cell.row, cell.dataset) for cell in CELLS if cell.is_quoted] == [("AuxiLearn", "cars")]


def test_note_of_the_quoted_cell_says_that_it_may_not_be_comparable():
    assert "Cars may not be comparable" in DIFFERS["table1", "AuxiLearn"]
    assert "30 images of each class" in DIFFERS["table1", "AuxiLearn"]


def test_note_of_mti_says_which_hrnet_is_the_default():
    assert MtiConfig().backbone == "hrnet_w18_small_v2"
    assert (
        "does not name the HRNet's size: ours is the smaller HRNet-W18 (small-v2)" in DIFFERS["table1", "MTI + Detaux"]
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_notes_give_the_image_side_of_the_papers_config(dataset):
    side = load_config(ROOT / "configs" / "paper" / f"{dataset}.yaml").data.side
    assert side == (224 if dataset in ("faces", "cars") else 64)  # of the released code
    for table in {cell.table for cell in CELLS if cell.dataset == dataset}:
        found = re.search(
            rf"(\d+)(?: pixels)? for [^,.]*(?:, )?[^,.]*{DATASETS[dataset].title}", " ".join(NOTES[table])
        )
        assert found
        assert int(found[1]) == side
