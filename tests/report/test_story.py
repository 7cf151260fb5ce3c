"""The story: what it concludes from what the stages wrote."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from structdiff.protein.io import write_pdb
from structdiff.report.story import tell
from structdiff.system.plotting import new_figure, save_figure

FIGURES = ("peptides/leakage", "figures/losses")
FIGURES += tuple(f"evaluation/{name}" for name in ("composition", "neighbours", "properties"))
FIGURES += ("evaluation/ramachandran",)


def training(best: int, last: int, rise: float) -> dict:
    return {
        "epochs": last,
        "steps": 100 * last,
        "parameters": 1_000_000,
        "effective_batch": 32,
        "best": {"epoch": best, "total": 3.0},
        "last": {"epoch": last, "validation": {"total": 3.0 + rise}},
    }


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a run's results, and tells them."""

    def function(
        summary: dict,
        method: str = "cluster",
        verdict: str = "ok",
        chosen: int | None = None,
        predictor: str = "ideal\nnote\ta baseline",
        used: bool = True,
    ) -> str:
        epoch = chosen if chosen is not None else (summary["best"] or summary["last"])["epoch"]
        files = {
            "config.yaml": f"run: x<y\nsplit: {{method: {method}, threshold: 0.7}}\n"
            f"data: {{use_predicted_structures: {str(used).lower()}}}\n"
            "training: {validate_every: 1}\n",
            "peptides/summary.tsv": "group\tname\tcount\tshare\nrows\tread\t12\t1\n"
            "rows\trejected\t3\t0.25\npeptides\tused\t9\t1\nlabel\ta\t6\t0.66\n"
            "split\ttrain\t7\t0.7\nsplit\tval\t2\t0.2\n",
            "peptides/labels.tsv": "label\tsplit\tpresent\tabsent\tunknown\na\tall\t6\t2\t1\n",
            "peptides/warnings.tsv": "label\twarning\na\tonly <2> training peptides have it\n",
            "structures/summary.tsv": f"what\tvalue\npredictor\t{predictor}\n"
            "with structure\t9\nwithout structure (without_structure.tsv)\t0\n",
            "training/summary.json": json.dumps(summary),
            "selection/selection.tsv": "candidate\tepoch\tchosen\n"
            f"checkpoint_latest.pth\t99\tno\ncheckpoint_epoch.pth\t{epoch}\tyes\n",
            "generation/summary.tsv": "label\tdesigns\tnote\na\t1\t\nnot b\t0\tno <b> lacks it\n",
            "evaluation/metrics.json": json.dumps(
                {
                    "a": {
                        "verdict": verdict,
                        "findings": [
                            {"fault": "collapsed", "passed": True, "sentence": "all differ"},
                            {"fault": "memorising", "passed": False, "sentence": "half are copies"},
                        ],
                        "metrics": {"copies": {"title": "Copies", "generated": 0.5}},
                    }
                }
            ),
            "evaluation/candidates.tsv": "set\trank\tid\tsequence\tlength\tmet\treasons\t"
            "nearest_training\tsimilarity\tcharge\tmoment\n"
            "a\t1\ta_1\tGKE\t3\t7\t5 < 6\tp1\t0.5\t1.0\t0.4\n",
        }
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name in FIGURES:
            figure, _ = new_figure(width=1, height=1)
            save_figure(figure, tmp_path / name)
        (tmp_path / "generation").mkdir(exist_ok=True)
        backbone = np.arange(36, dtype=np.float32)
        (tmp_path / "generation" / "pdb").mkdir(exist_ok=True)
        write_pdb(tmp_path / "generation/pdb/a_1.pdb", "GKE", backbone.reshape(3, 4, 3))
        designs = pa.table(
            {"id": ["a_1"], "sequence": ["GKE"], "label": ["a"], "backbone": [backbone.tolist()]}
        )
        parquet.write_table(designs, tmp_path / "generation" / "samples.parquet")
        return tell(tmp_path)

    return function


@pytest.mark.parametrize(
    ("best", "last", "rise", "words"),
    [
        (20, 20, 0.0, "It was still falling at the end"),
        (10, 20, 0.3, "By epoch 20 it had risen to 3.300"),
        (18, 20, 0.01, "It had settled by the end"),
        (1, 1, 0.0, "It is the only validation"),
    ],
)
def test_training_is_judged_by_its_validation(write, best, last, rise, words):
    assert words in write(training(best, last, rise))


def test_a_model_of_another_epoch_than_the_lowest_loss_is_named(write):
    """selection.metric and selection.epoch may choose another checkpoint than the lowest total."""
    words = "not of that epoch, but of epoch 4 (checkpoint_epoch.pth)"
    assert words in write(training(6, 10, 0.3), chosen=4)
    assert "not of that epoch" not in write(training(6, 10, 0.3), chosen=6)


def test_a_set_that_was_not_designed_is_named_with_its_reason(write):
    """It has no candidates and no verdict, so that nothing else on the page mentions it."""
    page = write(training(1, 1, 0))
    assert "<b>not b</b> was not designed: no &lt;b&gt; lacks it." in page
    assert "<b>a</b> was not designed" not in page


def test_warnings_about_labels_are_in_the_chapter_on_data(write):
    assert "<b>a</b>: only &lt;2&gt; training peptides have it." in write(training(1, 1, 0))


@pytest.mark.parametrize(
    ("predictor", "used", "words"),
    [
        ("files", True, "<p>Peptides without a structure train the sequence alone."),
        ("esmfold\nmean pLDDT of a peptide, mean\t71", True, "(pLDDT weighs the loss). Peptides"),
        ("esmfold\nmean pLDDT of a peptide, mean\t71", False, "was not trained on them"),
    ],
)
def test_what_structures_are_used_for(write, predictor, used, words):
    page = write(training(1, 1, 0), predictor=predictor, used=used)
    assert words in page
    assert ("pLDDT weighs" in page) == ("pLDDT weighs" in words)


def test_without_a_validation_it_says_so(write):
    assert "No validation took place" in write({**training(1, 1, 0), "best": None})


def test_the_start_of_the_training_is_named(write):
    assert "started from" not in write(training(1, 1, 0))
    init = {"from": "a<b.safetensors", "sha256": "0123456789abcdef" * 4}
    page = write({**training(1, 1, 0), "init": init})
    assert "<code>a&lt;b.safetensors</code> (SHA-256 <code>0123456789abcdef</code>)" in page
    assert "It has no record of the peptides that it was trained on" in page


def test_a_split_that_leaks_is_named(write):
    assert "flatter the model" in write(training(1, 1, 0), method="random")


def test_faults_are_shown_and_what_is_kept_is_folded_away(write):
    page = write(training(1, 1, 0), verdict="memorising")
    assert '<b class="bad">memorising</b>' in page
    assert "1 of 2 limits are kept" in page
    assert page.index("half are copies") < page.index("<summary>") < page.index("all differ")


def test_nothing_is_taken_for_markup(write):
    page = write(training(1, 1, 0))
    assert "Run x&lt;y" in page
    assert "5 &lt; 6" in page
    assert "http://" not in page


def test_a_card_says_both_what_its_set_is_and_what_it_is_by_itself(write):
    page = write(training(1, 1, 0), verdict="random-like")
    card = page[page.index('<div class="card">') : page.index("show in 3D")]
    assert 'Its set: <b class="bad">random-like</b>' in card
    assert "By itself: 5 &lt; 6" in card
