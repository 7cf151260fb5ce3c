"""The report's pages: all rows or a word about them, nothing taken for HTML, nothing to load."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from structdiff.report.tables import MAX_ROWS, PAGES, table_page, write_tables
from structdiff.system.files import read_rows, write_tsv

COLUMNS = ["id", "sequence", "score", "reason"]
ROWS = [["a", "GIGKFLHSAK", "0.5", ""], ["b", "KWKLFKKI", "-1e-3", "5 < 6 & so on"]]


class Cells(HTMLParser):
    """Collect the text of the table's cells and the classes of its columns."""

    def __init__(self, page: str):
        super().__init__()
        self.rows, self.classes, self._open = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
            self.classes.append([])
        if tag in ("td", "th"):
            self._open = True
            self.rows[-1].append("")
            self.classes[-1].append(dict(attributes).get("class", ""))

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data


def test_a_table_comes_back_cell_by_cell():
    cells = Cells(table_page(COLUMNS, ROWS, Path("table.tsv")))
    assert cells.rows == [COLUMNS, *ROWS]
    assert cells.classes[1:] == [["", "sequence", "number", ""]] * 2


def test_an_empty_table_says_so():
    page = table_page(COLUMNS, [], Path("table.tsv"))
    assert "0 rows" in page
    assert Cells(page).rows == [COLUMNS]


def test_a_quotation_mark_is_a_character_like_any_other(tmp_path):
    rows = [['"odd" id', "KW", "1", ""], ["b", "GK", "2", 'a lone "']]
    write_tsv(tmp_path / "table.tsv", COLUMNS, rows)
    page = table_page(*read_rows(tmp_path / "table.tsv"), source=tmp_path / "table.tsv")
    assert Cells(page).rows == [COLUMNS, *rows]


def test_a_long_table_is_cut_and_says_so():
    rows = [[str(i), "", "", ""] for i in range(MAX_ROWS + 5)]
    page = table_page(COLUMNS, rows, Path("table.tsv"))
    assert len(Cells(page).rows) == 1 + MAX_ROWS
    assert f"{len(rows):,} rows, the first {MAX_ROWS:,} shown" in page


@pytest.fixture
def results(tmp_path):
    for file in PAGES.values():
        path = tmp_path / "results" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id\treason\n1\t<script>alert(1)</script>\n")
    return tmp_path / "results"


def test_every_page_is_written_and_needs_no_other_file(results, tmp_path):
    write_tables(results, tmp_path / "pages")
    pages = {path.stem: path.read_text() for path in (tmp_path / "pages").iterdir()}
    assert pages.keys() == PAGES.keys()
    for name, page in pages.items():
        assert "http" not in page
        assert "alert(1)</script>" not in page, name
    assert "generation/designs.tsv" in pages["designs"]


def test_the_caption_of_the_failures_names_where_all_peptides_without_a_structure_are():
    """A peptide that no file holds is not a failure, so this page does not list it."""
    rst = Path(__file__).parents[2] / "workflow" / "report" / "structures_failed.rst"
    assert PAGES["failed"] == "structures/failed.tsv"
    assert "structures/without_structure.tsv" in rst.read_text()
