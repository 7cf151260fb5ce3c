"""Parts that another package adds, known before they are imported."""

import pytest

from structdiff.config import parse
from structdiff.structures.predictors import Predictor, input_paths, make_predictor, predictor_class
from structdiff.system.errors import UserError
from structdiff.system.plugins import PREDICTORS

MODULE = """
from structdiff.structures.predictors import Predictor

class Straight(Predictor):
    name = "straight"
    needs_gpu = True
    paths = ("table",)

    def __init__(self, table, rise=3.3):
        self.table, self.rise = table, rise
"""


@pytest.fixture
def straight(tmp_path, monkeypatch):
    """Install a package with the predictor 'straight'."""
    (tmp_path / "straight_folding.py").write_text(MODULE)
    installed = tmp_path / "straight-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: straight\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[structdiff.predictors]\nstraight = straight_folding:Straight\n"
        "broken = no_such_module:Nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def config(predictor, **structures):
    structures |= {"predictor": predictor}
    return parse({"run": "test", "data": {"path": "p.csv"}, "structures": structures})


@pytest.mark.parametrize("name", list(PREDICTORS.built_in))
def test_each_of_our_own_has_the_interface(name):
    assert Predictor in PREDICTORS.load(name).__mro__
    assert PREDICTORS.load(name).name == name


@pytest.mark.usefixtures("straight")
def test_a_predictor_of_another_package_is_made_with_its_options():
    settings = config("straight", options={"table": "a.csv", "rise": 3.5})
    assert predictor_class(settings).needs_gpu and not predictor_class(settings).is_expensive
    assert input_paths(settings) == {"structures.options.table": "a.csv"}
    made = make_predictor(settings)
    assert (made.table, made.rise) == ("a.csv", 3.5)


@pytest.mark.usefixtures("straight")
def test_what_it_does_not_know_or_lacks_is_said():
    with pytest.raises(UserError, match=r"structures\.options: .*'rize'"):
        make_predictor(config("straight", options={"table": "a.csv", "rize": 3.5}))
    with pytest.raises(UserError, match=r"structures\.options: .*'table'"):
        make_predictor(config("straight"))
    with pytest.raises(UserError, match="no_such_module:Nothing cannot be imported"):
        make_predictor(config("broken"))
    with pytest.raises(UserError, match=r"structures\.options is given, but ideal"):
        config("ideal", options={"rise": 3.5})


@pytest.mark.usefixtures("straight")
def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'omegafold', but ideal, .*, broken, straight"):
        config("omegafold")
    with pytest.raises(UserError, match=r"'omegafold', but ideal, .*structdiff\.predictors"):
        PREDICTORS.load("omegafold")
