"""The notebook runs from top to bottom, shows a fold and leaves what it says."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("docs")]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The folder that the notebook ran in, and the notebook with its outputs."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(ROOT / "docs" / "try.ipynb", as_version=4)
    nbformat.validate(notebook)
    environment = {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),  # this checkout's code, whatever is installed
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}})
        return folder, client.execute()


def outputs(notebook: nbformat.NotebookNode, words: str) -> list[nbformat.NotebookNode]:
    """Return the outputs of the cell that has some words."""
    (cell,) = [cell for cell in notebook.cells if words in cell.source and "outputs" in cell]
    return cell.outputs


def test_it_leaves_designs_a_verdict_and_an_order(executed):
    folder, notebook = executed
    (printed,) = outputs(notebook, "structdiff.generate")
    assert len(printed.text.split()) == 10
    assert (folder / "mine.fasta").read_text().count(">") == 10
    assert (folder / "judged" / "comparison.tsv").stat().st_size > 0
    assert (folder / "designs" / "designs.tsv").is_file()
    assert (folder / "order.xlsx").stat().st_size > 0


@pytest.mark.browser
def test_it_shows_the_fold_in_3d(executed, browser):
    folder, notebook = executed
    (shown,) = outputs(notebook, "structdiff.view")
    (folder / "cell.html").write_text(shown.data["text/html"], encoding="utf-8")
    frame = "document.querySelector('iframe').contentDocument"
    opened = browser.open(
        (folder / "cell.html").as_uri(), until=f"{frame}.querySelector('#view canvas')"
    )
    opened.wait(f"{frame}.getElementById('view').dataset.drawn === 'magainin 2'")
    assert opened.errors == []
    assert opened.requests == [(folder / "cell.html").as_uri()]
