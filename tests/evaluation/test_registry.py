"""The registry: every metric is complete, and another package adds one from outside."""

import json

import pytest

from structdiff.evaluation.metric import CONTROLS
from structdiff.evaluation.registry import all_metrics, measure
from structdiff.evaluation.stage import run
from structdiff.report.verdicts import judged
from structdiff.system.errors import UserError
from structdiff.system.files import read_tsv

MODULE = """
from structdiff.evaluation.metric import Metric
from structdiff.evaluation.value import Unavailable

def share(peptides):
    if len(peptides.sequences) < 3:
        return Unavailable("fewer than three peptides")
    joined = "".join(peptides.sequences)
    return joined.count("K") / len(joined)

lysine = Metric(
    "lysine", "Composition", "Lysine (share)", "as held-out", "share",
    "Lysines among all residues.", share, controls=("held_out", "shuffled"),
)
taken = Metric("js1", "Composition", "Taken", "", "", "A key that is taken.", share)
endless = Metric("endless", "Composition", "Endless", "", "", "NaN.", lambda peptides: float("nan"))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package with the metric of a name."""

    def make(name):
        (tmp_path / "lysine_metrics.py").write_text(MODULE)
        folder = tmp_path / "lysine-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lysine\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(
            f"[structdiff.metrics]\n{name} = lysine_metrics:{name}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)

    return make


def test_every_metric_has_its_words_and_known_controls():
    metrics = all_metrics()
    assert len({metric.key for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.title and metric.good and metric.definition.endswith(".")
        assert set(metric.controls) <= set(CONTROLS)


def test_another_package_adds_a_metric_from_outside(
    install, tmp_path, make_config, make_designs, make_sequences, peptides
):
    install("lysine")
    samples, folder = tmp_path / "samples.parquet", tmp_path / "evaluation"
    sequences = make_sequences(20, 2)
    make_designs({"antimicrobial": sequences}).to_parquet(samples, index=False)
    run(make_config(), samples, peptides, None, None, folder)
    result = json.loads((folder / "metrics.json").read_text())["antimicrobial"]
    values = result["metrics"]["lysine"]
    joined = "".join(sequences)
    assert values["generated"] == pytest.approx(joined.count("K") / len(joined))
    assert values["shuffled"] == values["generated"]
    assert values["held_out"] > 0
    assert values["markov"] is None
    assert "is not measured for this control" in values["missing"]
    assert "Lysine (share)" in [row["metric"] for row in read_tsv(folder / "metrics.tsv")]
    assert 'title="Lysines among all residues."' in judged("antimicrobial", result)


def test_a_key_is_given_once(install):
    install("taken")
    with pytest.raises(UserError, match="another metric 'js1'"):
        all_metrics()


def test_a_metric_returns_a_number_or_a_reason(install, peptide_set):
    install("endless")
    with pytest.raises(UserError, match="'endless' returned nan"):
        measure(peptide_set(["KKLLKK"]))
