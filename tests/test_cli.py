"""The command line: help without heavy imports, and the message and exit status of bad input."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from structdiff.cli import app, main
from structdiff.peptides.table import read_peptides
from structdiff.system.errors import UserError

VERBS = sorted(typer.main.get_command(app).commands)

PEPTIDES = [
    "GIGKFLHSAKKFGKAFVGEIMNS",
    "KWKLFKKIGAVLKVL",
    "FFHHIFRGIVHVGKTIHRLVTG",
    "ILPWKWPWWPWRR",
    "RRWQWRMKKLG",
    "GLFDIVKKVVGALGSL",
]
SPLIT = {"val_fraction": 0.3, "test_fraction": 0.1}


def structdiff(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command line as a user would."""
    command = [sys.executable, "-m", "structdiff", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def configure(tmp_path):
    """Return a function that writes a table (if given) and the configuration that reads it."""

    def function(content: bytes | None) -> Path:
        if content is not None:
            (tmp_path / "table.csv").write_bytes(content)
        mapping = {"run": "test", "data": {"path": str(tmp_path / "table.csv")}, "split": SPLIT}
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(mapping))
        return tmp_path / "my.yaml"

    return function


def table(*rows: str) -> str:
    good = [f"good{number},{sequence}" for number, sequence in enumerate(PEPTIDES)]
    return "\n".join(["id,sequence", *good, *rows]) + "\n"


def test_help_imports_nothing_heavy():
    code = """
import sys
from typer.testing import CliRunner
from structdiff.cli import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0 and "split" in result.output, result.output
heavy = {"torch", "pandas", "pyarrow", "numpy", "scipy", "matplotlib", "snakemake", "pydantic"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_versions_that_matter():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    versions = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert {"structdiff", "python", "torch", "snakemake", "transformers"} <= versions.keys()


def test_an_interrupt_exits_130(monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("structdiff.peptides.demo.write_demo", interrupted)
    monkeypatch.setattr(sys, "argv", ["structdiff", "demo-data", "--output", "x.csv"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb):
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output
    assert typer.main.get_command(app).commands[verb].help


def test_the_verbs_are_those_of_the_stages():
    stages = {"split", "fold", "train", "select", "plot", "generate", "evaluate"}
    assert stages | {"demo-data"} <= set(VERBS)


def test_a_user_error_is_printed_without_traceback_and_exits_2(configure, tmp_path):
    done = structdiff("split", "--config", configure(None), "--output-dir", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("structdiff: error: ")
    assert f"{tmp_path / 'table.csv'} (data.path): no such file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["structures", "predict", "x.csv", "--predictor", "files"], "predicts none; give one of"),
        (
            ["structures", "predict", "x.csv", "--predictor", "ideal", "--model", "w"],
            "--model: is for the predictors .*, not for 'ideal'",
        ),
        (["evaluate", "--label", "amp"], "--reference and --label are for --designs"),
        (["monitor", "--save-plot", "x.png"], "only --mode plot draws"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message, tmp_path):
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, [*arguments, "--output-dir", str(tmp_path)], catch_exceptions=False)


def test_bad_rows_are_refused_by_line_and_the_rest_is_used(configure, tmp_path):
    """Byte-order mark, CRLF, lower case, white space, every kind of bad sequence, duplicates."""
    rows = [
        "lower," + PEPTIDES[0].lower(),  # line 8: merges
        "b,GIGKBFLH",
        "z,GIGKZFLH",
        "u,GIGKUFLH",
        "o,GIGKOFLH",
        "x,GIGKXFLH",
        "star,GIGK*FLH",
        "gap,GIGK-FLH",
        "empty,",
        "long," + "GIGKF" * 11,
        "huge," + "G" * 100_000,
        "good0," + PEPTIDES[0],  # line 19: id and sequence again
    ]
    config = configure(table(*rows).replace("\n", "\r\n").encode("utf-8-sig"))
    done = structdiff("split", "--config", config, "--output-dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "18 rows = 6 kept + 2 merged + 10 rejected" in done.stdout
    frame = read_peptides(tmp_path / "out" / "peptides.parquet").frame
    assert frame["sequence"].tolist() == PEPTIDES
    lines = (tmp_path / "out" / "rejected.tsv").read_text().splitlines()
    reasons = {int(line.split("\t")[0]): line.split("\t")[1:3] for line in lines[1:]}
    other = "not one of the 20 standard residues: "
    assert reasons == {
        **{9 + n: [name, other + name.upper()] for n, name in enumerate("bzuox")},
        14: ["star", other + "*"],
        15: ["gap", other + "-"],
        16: ["empty", "the sequence is empty"],
        17: ["long", "length 55, above data.max_length 50"],
        18: ["huge", "length 100000, above data.max_length 50"],
    }


@pytest.mark.parametrize("below", ["", "/below"])
def test_an_output_folder_that_is_a_file_exits_2(configure, tmp_path, below):
    (tmp_path / "file").write_text("")
    config = configure(table().encode())
    done = structdiff("split", "--config", config, "--output-dir", f"{tmp_path}/file{below}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"structdiff: error: {tmp_path}/file")
