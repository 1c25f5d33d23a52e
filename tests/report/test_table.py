import csv
import io

import pytest

from detaux.report.table import Table, text_column


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)"])
def test_name_that_a_spreadsheet_would_compute_is_text_in_the_csv(name):
    table = Table("one", "caption", [text_column("Class", "class")], [{"class": name, "gain": -0.5}], ["class", "gain"])
    (row,) = csv.DictReader(io.StringIO(table.to_csv(), newline=""))
    assert row == {"class": f"'{name}", "gain": "-0.5"}
    assert table.cells() == [[name]]


@pytest.mark.parametrize("name", ["cats", "a=b", "2 + 4", "1-nearest", "a,b", '"quoted"'])
def test_other_names_stay_as_they_are(name):
    table = Table("one", "caption", [], [{"class": name}], ["class"])
    assert list(csv.reader(io.StringIO(table.to_csv(), newline="")))[1:] == [[name]]


def test_name_with_line_breaks_and_controls_is_one_cell():
    table = Table("one", "caption", [], [{"class": "\r=1\n\t\x1b"}], ["class"])
    assert list(csv.reader(io.StringIO(table.to_csv(), newline="")))[1:] == [[r"\r=1\n\t\x1b"]]
