"""The demo's table: the classes that modlAMP itself gives, united."""

import subprocess
import sys

import pandas as pd
import pytest

from structdiff.peptides import demo
from structdiff.system.errors import UserError


def test_it_holds_the_positive_classes_of_both_sets(tmp_path):
    from modlamp.datasets import load_ACPvsTM, load_AMPvsUniProt

    count = demo.write_demo(tmp_path / "new" / "demo.csv")
    frame = pd.read_csv(tmp_path / "new" / "demo.csv")
    assert list(frame) == ["id", "sequence", "antimicrobial", "anticancer", "source"]
    assert len(frame) == count
    assert frame["id"].is_unique
    assert frame["sequence"].is_unique
    for label, data, number in [
        ("antimicrobial", load_AMPvsUniProt(), 2600),
        ("anticancer", load_ACPvsTM(), 413),
    ]:
        positive = {s for s, t in zip(data.sequences, data.target, strict=True) if t == 1}
        assert (data.target == 1).sum() == number
        assert set(frame["sequence"][frame[label] == 1]) == positive
    assert set(frame["source"]) == {"APD3", "CancerPPD", "APD3;CancerPPD"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["demo.csv"]


def test_modlamp_is_read_without_being_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from structdiff.peptides.demo import write_demo; "
        f"write_demo(Path({str(tmp_path / 'demo.csv')!r})); "
        "sys.exit(bool({'modlamp', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_modlamp_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install modlamp"):
        demo.write_demo(tmp_path / "demo.csv")
