"""The paper's tables on the page and in the files, against the cells that they are made of."""

import csv
import shutil

import pytest
from pages import read_table, read_text

from detaux.cli import run_command
from detaux.config.schema import ReportConfig
from detaux.report.build import build_report
from detaux.report.published import CELLS

MINUS = "\N{MINUS SIGN}"


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def svhn_run(run_folder, edit_json):
    """A run of SVHN."""
    digits = {"dataset": "svhn", "principal": "digit", "classes": list("0123456789")}
    edit_json(run_folder / "shards" / "manifest.json", lambda manifest: manifest.update(digits))
    return run_folder


@pytest.fixture
def page(svhn_run, unrendered):
    names = ["table1", "table2", "table3"]
    return build_report([svhn_run], svhn_run / "report", ReportConfig(published=names))


def test_table_has_our_number_beside_that_of_the_paper(page):
    titles, rows = read_table(page, "table1")
    cells = {row[0]: dict(zip(titles, row, strict=True)) for row in rows}
    assert list(cells) == ["STL", "MAXL", "AuxiLearn", "MTL-HPS + Detaux", "NDDR + Detaux", "MTI + Detaux"]
    assert cells["STL"]["SVHN %, paper"] == "95.6"
    assert cells["STL"]["SVHN %, ours"] == "83.12 (80.99 to 85.25; 3 seeds)"
    hps = cells["MTL-HPS + Detaux"]
    assert (hps["SVHN %, paper"], hps["SVHN %, ours"]) == (f"95.4 ({MINUS}0.2)", "84.37 (82.24 to 86.50; 3 seeds)")
    assert (hps["CIFAR-10 %, paper"], hps["CIFAR-10 %, ours"]) == ("84.8 (+0.4)", "not run")
    assert (cells["MAXL"]["3D Shapes %, paper"], cells["MAXL"]["3D Shapes %, ours"]) == ("\N{EN DASH}",) * 2
    assert cells["AuxiLearn"]["Cars %, paper"] == f"64.4* ({MINUS}6.7)"


def test_third_table_has_the_information_of_the_run(page):
    titles, rows = read_table(page, "table3")
    assert titles == ["Row", "NMI, paper", "NMI, ours", "AMI, paper", "AMI, ours"]
    assert rows[2] == ["SVHN", "0.0033", "0.0042", "0.0030", "0.0013"]
    assert rows[0] == ["FACES", "0.1405", "not run", "0.1390", "not run"]


def test_notes_say_the_misprint_and_how_numbers_are_chosen(page):
    text = read_text(page)
    assert (
        "3D Shapes, MTL-HPS + Detaux: the paper prints a change of +74.6 points; the difference of its two numbers is +76.4."
    ) in text
    assert "of the setting that validation ranks first for that method" in text
    assert "NDDR + Detaux The paper released no code for this row" in text
    assert "KMeans, KMeans++ The paper does not give the number of clusters." in text


def test_settings_of_discovery_are_counted_in_cells_and_listed_once_for_each_table(page):
    """The run has the default settings."""
    text = read_text(page)
    start = "Settings of disentangling and discovery in the run demo that are not as in configs/paper/svhn.yaml: "
    assert text.count(start) == 2  # in tables 1 and 3
    listed = text.partition(start)[2].partition(". ")[0]
    assert "pairs: partner=mined (label), " in listed
    assert "model: encoder=patch_conv (resnet18), latent=16 (512)" in listed
    rows = {row["row"]: row for row in read_csv(page.parent / "tables" / "table1-cells.csv") if row["run"]}
    assert listed.startswith(rows["MTL-HPS + Detaux"]["discovery_differs"][:200])
    count = rows["MTL-HPS + Detaux"]["discovery_differs"].count("=")
    assert rows["MTL-HPS + Detaux"]["differs"].endswith(f"; {count} settings of disentangling and discovery")
    assert "multitask: backbone=small_cnn (resnet18), epochs=15 (150)" in rows["STL"]["differs"]
    assert rows["STL"]["discovery_differs"] == ""


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_csv_agrees_with_the_page(page, name):
    rows = read_csv(page.parent / "tables" / f"{name}-cells.csv")
    titles, shown = read_table(page, f"{name}-cells")
    assert len(rows) == len(shown) == sum(cell.table == name for cell in CELLS)
    scale, digits = (100, 2) if name != "table3" else (1, 4)
    for row, cells in zip(rows, shown, strict=True):
        cell = dict(zip(titles, cells, strict=True))
        assert [row["row"], row["column"]] == [cell["Row"], cell["Column"]]
        assert cell["Ours"] == (f"{scale * float(row['ours']):.{digits}f}" if row["status"] == "run" else "not run")
        assert cell["Run"] == (row["run"] or "\N{EN DASH}")
        assert row["commit"].startswith(cell["Commit"]) or not row["commit"]
    wide = read_csv(page.parent / "tables" / f"{name}.csv")
    values = [line[f"{row['column']} ours"] for row in rows for line in wide if line["row"] == row["row"]]
    assert values == [row["ours"] or "not run" for row in rows]


@pytest.mark.usefixtures("unrendered")
def test_one_seed_shows_no_interval(svhn_run, edit_json):
    def change(multitask):
        for row in multitask["summary"]:
            row.update(seeds=1, accuracy_low=None, accuracy_high=None, gain_low=None, gain_high=None)

    edit_json(svhn_run / "multitask" / "metrics.json", change)
    page = build_report([svhn_run], svhn_run / "report", ReportConfig(published=["table1"]))
    titles, rows = read_table(page, "table1")
    assert rows[0][titles.index("SVHN %, ours")] == "83.12 (no interval; 1 seed)"


@pytest.mark.usefixtures("unrendered")
def test_page_has_only_the_tables_asked_for(svhn_run):
    page = build_report([svhn_run], svhn_run / "report", ReportConfig(published=["table3"]))
    assert read_table(page, "table3")
    names = {path.name for path in (page.parent / "tables").iterdir()}
    assert {"table3.csv", "table3.md", "table3-cells.csv"} <= names
    assert not any(name.startswith(("table1", "table2")) for name in names)
    page = build_report([svhn_run], svhn_run / "report", ReportConfig())
    assert "The paper's tables" not in read_text(page)


@pytest.mark.usefixtures("unrendered")
def test_command_joins_runs_into_the_tables_that_they_ask_for(svhn_run, written_run, tmp_path, edit_json):
    """One run is of SVHN and asks for Table 1; the other is of Cars and asks for nothing."""
    cars = shutil.copytree(written_run, tmp_path / "cars-run")
    names = {"dataset": "cars", "principal": "class", "classes": [str(number) for number in range(196)]}
    edit_json(cars / "shards" / "manifest.json", lambda manifest: manifest.update(names))
    config = svhn_run / "multitask" / "config.yaml"
    config.write_text(config.read_text().replace("published: []", "published: [table1]"))
    assert run_command(["report", str(svhn_run), str(cars), "--out", str(tmp_path / "joined")]) == 0
    rows = read_csv(tmp_path / "joined" / "tables" / "table1-cells.csv")
    assert {(row["dataset"], row["run"]) for row in rows if row["status"] == "run"} == {
        ("svhn", "demo"),
        ("cars", "cars-run"),
    }
    assert not (tmp_path / "joined" / "tables" / "table2.csv").exists()
