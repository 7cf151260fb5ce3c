"""The command line: help without heavy imports, and the message and exit status of bad input."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from structdiff.cli import app, main
from structdiff.config import load
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

    def function(content: str | bytes | None, name: str = "table.csv", **data: object) -> Path:
        if content is not None:
            raw = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(raw)
        mapping = {"run": "test", "data": {"path": str(tmp_path / name), **data}, "split": SPLIT}
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(mapping))
        return tmp_path / "my.yaml"

    return function


def refused(config: Path) -> str:
    """Split in this process, through the same `main`; return the message it must end with."""
    with pytest.raises(UserError) as caught:
        arguments = ["split", "--config", str(config), "--output-dir", str(config.parent / "out")]
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (config.parent / "out" / "peptides.parquet").exists()
    return str(caught.value)


def table(*rows: str, header: str = "id,sequence") -> str:
    good = [f"good{number},{sequence}" for number, sequence in enumerate(PEPTIDES)]
    extra = "," + ",".join("1" for _ in header.split(",")[2:]) if header.count(",") > 1 else ""
    return "\n".join([header, *(line + extra for line in good), *rows]) + "\n"


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


def test_a_typo_in_a_key_exits_2_with_the_nearest_name(configure, tmp_path):
    config = configure(table(), sequence_colum="sequence")
    done = structdiff("split", "--config", config, "--output-dir", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"structdiff: error: {config}: unknown key 'data.sequence_colum'; "
        "did you mean 'data.sequence_column'?"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["structures", "predict", "x.csv", "--predictor", "files"], "predicts none; give one of"),
        (
            ["structures", "predict", "x.csv", "--predictor", "ideal", "--model", "w"],
            "--model: is for the predictors .*, not for 'ideal'",
        ),
        (["evaluate", "--label", "amp"], "--reference and --label are for --designs"),
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
        17: ["long", "55 residues, more than data.max_length 50"],
        18: ["huge", "100000 residues, more than data.max_length 50"],
    }


@pytest.mark.parametrize(
    ("content", "data", "message"),
    [
        ("", {}, "table.csv (data.path): the file is empty"),
        ("id,sequence\n", {}, "holds no peptide, only a header"),
        ("id,peptide\na,GIGKF\n", {}, "no column 'sequence' (data.sequence_column)"),
        ("sequence\nGIGKF\n", {}, "no column 'id' (data.id_column)"),
        (table("good0,KKKKKKKK"), {}, "table.csv, line 8 (id good0)"),
        (
            table("a,KKKKKKKK,2", header="id,sequence,amp"),
            {"label_columns": ["amp"]},
            "table.csv, line 8: label column 'amp' holds '2'; only 0 and 1",
        ),
        (
            table(header="id,sequence,amp"),
            {"label_columns": ["afp"]},
            "no column 'afp' (data.label_columns); did you mean 'amp'?",
        ),
        ("id,sequence\na,XXXXX\n", {}, "none of the 1 peptides can be used"),
    ],
    ids=[
        *("empty", "header only", "no sequence column", "no id column", "duplicate id"),
        *("label value", "no label column", "nothing left"),
    ],
)
def test_bad_tables_are_refused(configure, content, data, message):
    assert message in refused(configure(content, **data))


def test_duplicates_with_different_labels_unite(configure, tmp_path):
    rows = ["once,KKKKWWWWKKKK,1,0", "again,kkkkwwwwkkkk,0,1"]
    text = table(*rows, header="id,sequence,amp,afp")
    config = configure(text, label_columns=["amp", "afp"])
    arguments = ["split", "--config", str(config), "--output-dir", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    frame = read_peptides(tmp_path / "out" / "peptides.parquet").frame.set_index("id")
    assert frame.loc["once", ["amp", "afp"]].tolist() == [True, True]
    assert "again" not in frame.index


def test_a_predefined_split_that_overlaps_exits_2_with_both_places(tmp_path):
    (tmp_path / "train.csv").write_text(table())
    (tmp_path / "val.csv").write_text(f"id,sequence\nv,KKKKKKKK\nw,{PEPTIDES[2].lower()}\n")
    data = {f"{name}_path": str(tmp_path / f"{name}.csv") for name in ("train", "val")}
    mapping = {"run": "test", "data": data, "split": {"method": "predefined"}}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(mapping))
    done = structdiff("split", "--config", tmp_path / "my.yaml", "--output-dir", tmp_path / "out")
    assert done.returncode == 2
    assert "overlap in 1 rows" in done.stderr
    train, val = tmp_path / "train.csv", tmp_path / "val.csv"
    assert f"{train}, line 4 (id good2) and {val}, line 3 (id w)" in done.stderr


def test_demo_data_is_a_table_that_splits(tmp_path):
    result = CliRunner().invoke(app, ["demo-data", "--output", str(tmp_path / "demo.csv")])
    assert (result.exit_code, result.output.split(" ", 1)[1]) == (
        0,
        f"peptides written to {tmp_path / 'demo.csv'}\n",
    )
    data = {"path": str(tmp_path / "demo.csv"), "label_columns": ["antimicrobial", "anticancer"]}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"run": "demo", "data": data}))
    assert load(tmp_path / "my.yaml").data.path == data["path"]


@pytest.mark.parametrize("below", ["", "/below"])
def test_an_output_folder_that_is_a_file_exits_2(configure, tmp_path, below):
    (tmp_path / "file").write_text("")
    config = configure(table())
    done = structdiff("split", "--config", config, "--output-dir", f"{tmp_path}/file{below}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"structdiff: error: {tmp_path}/file")


def test_main_turns_a_user_error_into_status_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["structdiff", "split", "--config", str(tmp_path / "absent")])
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--output-dir", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "no such configuration file" in capsys.readouterr().err
