"""Inputs like those that broke other programs of the field: read rightly, or refused in words.

Each names the public report of the fault that it was made after; the inputs are our own. They go
through the real command line, as a user would give them.
"""

import random
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from structdiff.cli import app
from structdiff.system.errors import UserError

_DRAWN = random.Random(0)
PEPTIDES = [
    "".join(_DRAWN.choices("ACDEFGHIKLMNPQRSTVWY", k=_DRAWN.randint(8, 20))) for _ in range(40)
]
LABELLED = {"label_columns": ["amp"]}


def table(row: str = "{id},{sequence},{amp}", header: str = "id,sequence,amp") -> str:
    """Return a table of all peptides; every second one has the label."""
    lines = [
        row.format(id=f"p{n}", sequence=sequence, amp=n % 2, n=n, lower=sequence.lower())
        for n, sequence in enumerate(PEPTIDES)
    ]
    return "\n".join([header, *lines]) + "\n" if header else "\n".join(lines) + "\n"


def fasta(row: str = ">{id} amp={amp}\n{sequence}") -> str:
    return table(row, header="")


def structdiff(*arguments: object) -> str:
    """Call the command line and return what it prints; a `UserError` passes through."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def split(folder: Path, content: str | bytes, name: str, data: dict) -> tuple[pd.DataFrame, str]:
    """Split a table; return the peptides and what was printed."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    keys = "".join(f", {key}: {value}" for key, value in data.items())
    (folder / "my.yaml").write_text(f"data: {{path: '{folder / name}'{keys}}}\n")
    printed = structdiff("split", "--config", folder / "my.yaml", "--output-dir", folder / "out")
    return pd.read_parquet(folder / "out" / "peptides.parquet"), printed


JOINED = fasta().replace(">p0 ", "\ufeff>p0 ").replace(">p20 ", "\ufeff>p20 ")
READ = {
    "pytorch/text#612, cells begin with a mark": (
        table('"{id}\t{sequence}\t{amp}', "id\tsequence\tamp"),
        "t.tsv",
    ),
    "pandas-dev/pandas#22661, unmatched marks": (
        table('{id};"{n},5;{sequence};{amp}', "id;mic;sequence;amp"),
        "t.csv",
    ),
    "mir-group/nequip#198, blanks in the header": (
        table(header=" id,  sequence, amp "),
        "t.csv",
    ),
    "nf-core/multiplesequencealign#181, header ends in a comma": (
        table(header="id,sequence,amp,"),
        "t.csv",
    ),
    "rows end in a comma": (table("{id},{sequence},{amp},"), "t.csv"),
    "ParkerICI/premessa#3, empty rows of a spreadsheet": (table() + ",,\n" * 300, "t.csv"),
    "entitize/Fakeddit#4, names of rows without a header": (
        table('"{n}"\t"{id}"\t"{sequence}"\t{amp}', '"id"\t"sequence"\t"amp"'),
        "t.tsv",
    ),
    "CompOmics/peptide-shaker#111, joined files with marks": (JOINED, "t.fasta"),
    "facebookresearch/esm#410, long headers": (
        fasta("> {id} pacid=32 amp={amp} ID=x.v2\n{sequence}"),
        "t.fasta",
    ),
    "groupschoof/AHRD#11, CRLF": (fasta().replace("\n", " \r\n\r\n"), "t.fa"),
    "facebookresearch/esm#520, lower case throughout": (table("{id},{lower},{amp}"), "t.csv"),
    "awslabs/gluonts#920, line separators inside a cell": (
        table("{id}\t{sequence}\ta\u2028b\x0cc\x85d\x1ee\t{amp}", "id\tsequence\tnote\tamp"),
        "t.tsv",
    ),
    "foerstner-lab/gffpandas#25, ids that other readers take for missing values": (
        table().replace("p3,", "NA,").replace("p4,", "nan,").replace("p5,", "007,"),
        "t.csv",
    ),
    "spreadsheet's Unicode text": (
        table('{id}\t"{sequence}"\t{amp}', "id\tsequence\tamp").encode("utf-16"),
        "t.txt",
    ),
}


@pytest.mark.parametrize(("content", "name"), READ.values(), ids=list(READ))
def test_every_peptide_is_read_with_its_label(tmp_path, content, name):
    frame, printed = split(tmp_path, content, name, LABELLED)
    assert "40 rows = 40 kept + 0 merged + 0 rejected" in printed
    assert frame["sequence"].tolist() == PEPTIDES
    assert frame["amp"].tolist() == [bool(n % 2) for n in range(40)]


def spoiled(sequence: str) -> str:
    return table().replace(PEPTIDES[3], sequence)


REJECTED = {
    "chaidiscovery/chai-lab#10": ("GIGKV(M3L)SAPAT", "residues: (, ), 3"),
    "OpenMS/OpenMS#860": ("TESPATApSEELDNR", "D or modified residues: p"),
    "openvax/mhcflurry#199": ("GIGKUFLHSAK", "residues: U"),
    "google-deepmind/alphafold#150": ("GIGK--FLHSAK", "residues: -"),
    "sokrypton/ColabFold#83": ("GIGKFLHS:SAKKFGKA", "residues: :"),
    "epam/ketcher#5556": ("GLY ALA LYS PHE LEU", "three-letter codes of residues"),
    "three-letter codes with hyphens": ("Gly-Ala-Lys-Phe-Leu", "three-letter codes of residues"),
    "three-letter codes in a row": ("GlyAlaLysPheLeu", "three-letter codes of residues"),
    "SecureDNA/quickdna#73, two FASTA files in one line": ("GIGKFLHSAK>p9", "residues: 9, >"),
    "stop inside": ("GIGK*FLHSAK", "residues: *"),
}


@pytest.mark.parametrize(("sequence", "reason"), REJECTED.values(), ids=list(REJECTED))
def test_a_sequence_that_cannot_be_used_is_counted_and_its_reason_told(tmp_path, sequence, reason):
    frame, printed = split(tmp_path, spoiled(sequence), "t.csv", LABELLED)
    assert "40 rows = 39 kept + 0 merged + 1 rejected" in printed
    assert reason in printed
    assert len(frame) == 39
    rejected = (tmp_path / "out" / "rejected.tsv").read_text().splitlines()
    assert rejected[1].startswith("5\tp3\t")


REFUSED = {
    "torognes/vsearch#414, the other alphabet": (
        "".join(
            f">p{n} amp=1\n{''.join('ACGT'[ord(c) % 4] for c in sequence)}\n"
            for n, sequence in enumerate(PEPTIDES)
        ),
        "t.fasta",
        "40 of 40 sequences consist of A, C, G, T and N alone.*seem to be DNA",
    ),
    "bioperl/bioperl-live#227, PIR": (
        fasta(">P1;{id}\nMAGAININ\n{sequence}*"),
        "t.fasta",
        "line 1: '>P1;' begins an entry of a PIR file.*convert the file to FASTA",
    ),
    "patflick/tsppi#2, a page of HTML": (
        "<!DOCTYPE html>\n<html><body>404</body></html>\n",
        "t.csv",
        r"t\.csv: is a web page \(HTML\).*download it again",
    ),
    "microsoft/OmniParser#34, pointer of Git LFS": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "t.csv",
        r"t\.csv: is a pointer of Git LFS.*`git lfs pull`",
    ),
    "griffithlab/pVACtools#511, one id twice": (
        fasta().replace(">p39 ", ">p0 "),
        "t.fasta",
        r"one id, several sequences.*line 1 \(id p0\).*line 79 \(id p0\)",
    ),
    "gcorso/DiffDock#209, bytes of a program": (
        b"\x80\x03}q\x00(X\x0e\x00\x00\x00>p0\nGIGKFL\n",
        "t.fasta",
        "line 1: byte 0x80 is not UTF-8",
    ),
    "artyomovlab/hmmhc#3, no header": (
        "\n".join(PEPTIDES),
        "t.csv",
        "the first line has to name the columns, but it is",
    ),
    "compressed": (b"\x1f\x8b", "t.csv.gz", "decompress the file first"),
    "caporaso-lab/cual-id#42, ids that a spreadsheet rounded": (
        table().replace("p1,", "8.91E+05,").replace("p2,", "8.91E+05,"),
        "t.csv",
        r"one id, several sequences.*line 3 \(id 8\.91E\+05\).*line 4",
    ),
    "a label that is not known": (
        table().replace(f"{PEPTIDES[7]},1", f"{PEPTIDES[7]},maybe"),
        "t.csv",
        "line 9: label column 'amp' holds 'maybe'",
    ),
}


@pytest.mark.parametrize(("content", "name", "message"), REFUSED.values(), ids=list(REFUSED))
def test_a_table_that_cannot_be_used_is_refused_by_line(tmp_path, content, name, message):
    with pytest.raises(UserError, match=rf"(?s){message}"):
        split(tmp_path, content, name, LABELLED)


MISTAKES = {
    "sunbeam-labs/sunbeam#153, empty path": (
        "data: {path: t.csv}\nstructures: {cache: ''}\n",
        "key 'structures.cache': .*at least 1 character",
    ),
    "cbg-ethz/V-pipe#80, no-break spaces": (
        "data:\n\u00a0\u00a0path: t.csv\n",
        r"my\.yaml, line 2: begins with U\+00A0",
    ),
    "HannesStark/boltzgen#53, keys of another program": (
        "data: {path: t.csv}\nentities: [a]\n",
        "unknown key 'entities'",
    ),
    "Wytamma/snk#40, null of another language": (
        "data: {path: t.csv, limit: None}\n",
        "key 'data.limit': .*got 'None'",
    ),
    "number to the base 8": (
        "data: {path: t.csv}\ntraining: {batch_size: 010}\n",
        "line 2: YAML reads 010 as 8",
    ),
    "number to the base 60": (
        "data: {path: t.csv}\ngeneration: {num_samples: 1:30}\n",
        "line 2: YAML reads 1:30 as 90",
    ),
    "Windows path between double marks": (
        'data: {path: "C:\\new\\table.csv"}\n',
        "key 'data.path': has a tab, a line end",
    ),
    "keys with dots": (
        "data: {path: t.csv}\ntraining.num_epochs: 5\n",
        r"unknown key 'training\.num_epochs'",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_in_the_configuration_is_told_with_its_place(tmp_path, text, message):
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"(?s)my\.yaml.*{message}|{message}"):
        structdiff("split", "--config", tmp_path / "my.yaml", "--output-dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


OPTIONS = {
    "RosettaCommons/RFdiffusion#221, reversed range": (
        ["--length", "25-10"],
        "give a number such as 18 or a range",
    ),
    "en dash of a word processor": (["--length", "10–12"], "give a number such as 18 or a range"),
    "RosettaCommons/RFdiffusion#97, open range": (
        ["--analogues-of", "GIGKFLHSAK", "--strength", "0.5", "--keep", "1-4,9-"],
        "'9-' is not a number or a range",
    ),
    "RosettaCommons/RFdiffusion#201, other separator": (
        ["--analogues-of", "GIGKFLHSAK", "--strength", "0.5", "--keep", "1:4"],
        "'1:4' is not a number or a range",
    ),
    "another list of labels": (
        ["--label", "antimicrobial,antiviral"],
        r"its labels: antimicrobial.*join several by '\+'",
    ),
    "facebookresearch/esm#13": (
        ["--analogues-of", "GIGXFLHS", "--strength", "0.5"],
        "'X' at position 4",
    ),
    "infinite guidance": (["--guidance-scale", "inf"], "guidance_scale inf: give a number from 0"),
    "empty": (["--analogues-of", "", "--strength", "0.5"], "the sequence is empty"),
    "blanks of another program": (["--template", "GIGK____FLHS"], "'_' at position 5"),
    "nothing to fold": (["--fold", ""], "design fold: the text is empty"),
    "gap": (["--fold", "GIGK-FLHS"], "'-' at position 5"),
    "two chains": (["--fold", "GIGKFLH:SAKKF"], "':' at position 8"),
}


@pytest.mark.parametrize(("options", "message"), OPTIONS.values(), ids=list(OPTIONS))
def test_options_of_design_that_make_no_sense_are_told(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        structdiff("design", "--output-dir", tmp_path / "out", *options)
    assert not (tmp_path / "out" / "designs.tsv").exists()
