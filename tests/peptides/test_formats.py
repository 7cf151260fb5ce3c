"""Every kind of table is read to the same columns, and every row keeps its place in the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structdiff.system.errors import UserError

TEXT = "id,sequence,amp\na,GIGKFLHSAK,1\nb,KWKLFKKIGA,0\n"
IDS = ["a", "b"]
SEQUENCES = ["GIGKFLHSAK", "KWKLFKKIGA"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (TEXT, "table.csv"),
        (TEXT.encode("utf-8-sig"), "table.csv"),
        (TEXT.replace("\n", "\r\n"), "table.csv"),
        (TEXT.replace("\n", "\r"), "table.csv"),
        (TEXT.encode("utf-8-sig").replace(b"\n", b"\r\n"), "table.CSV"),
        (TEXT.replace(",", "\t"), "table.tsv"),
        (TEXT.replace(",", "\t"), "table.txt"),
        (TEXT.replace(",", "\t"), "tabs_in.csv"),
        (TEXT.replace(",", ";"), "table.csv"),
        (TEXT.replace(",", ", "), "table.csv"),
        (TEXT.replace("a,GIGKFLHSAK", '"a","GIGKFLHSAK"'), "table.csv"),
        (TEXT.rstrip("\n"), "table.csv"),
        (TEXT.replace("\nb", "\n\n\nb"), "table.csv"),
    ],
    ids=[
        *("plain", "bom", "crlf", "cr", "bom+crlf", "tsv", "txt", "tabs in csv", "semicolons"),
        *("spaces", "quoted", "unended", "blank lines"),
    ],
)
def test_delimited(read, content, name):
    table = read(content, name, label_columns=["amp"])
    assert (table.ids, table.sequences) == (IDS, SEQUENCES)
    assert table.fields == {"amp": ["1", "0"]}
    assert not table.broken


def test_columns_are_found_by_name_in_any_order(read):
    table = read("note,Seq,x,name\nhello,GIGKF,1,a\n", sequence_column="Seq", id_column="name")
    assert (table.ids, table.sequences) == (["a"], ["GIGKF"])


def test_lines_are_those_of_the_file(read):
    text = 'id,sequence,note\na,GIGKF,"two\nlines"\n\nb,KWKLF,x\nc,AAAAA\nd,CCCCC,y\n'
    table = read(text)
    assert table.places == [2, 5, 7]
    assert [(row.line, row.id) for row in table.broken] == [(6, "c")]
    assert table.broken[0].reason == "2 fields where the header has 3"
    assert table.at(1).endswith("table.csv, line 5")


def test_fasta(read):
    text = ">a first kind=amp;afp\nGIGK\nFLHSAK\n\n>b\r\nKWKLFKKIGA\n>c other=1 kind=avp"
    table = read(text, "table.fasta", label_column="kind")
    assert table.ids == ["a", "b", "c"]
    assert table.sequences == [*SEQUENCES, ""]
    assert table.fields == {"kind": ["amp;afp", "", "avp"]}
    assert table.places == [1, 5, 7]


def test_fasta_headers_may_hold_columns_of_0_and_1(read):
    table = read(">a amp=1 x_amp=0\nGIGKF\n", "table.fa", label_columns=["amp"])
    assert table.fields == {"amp": ["1"]}


def parquet(tmp_path, **columns) -> bytes:
    path = tmp_path / "made"
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


def test_parquet(read, tmp_path):
    content = parquet(
        tmp_path, id=[1, 2], sequence=pa.array(SEQUENCES).dictionary_encode(), amp=[True, False]
    )
    table = read(content, "table.parquet", label_columns=["amp"])
    assert (table.ids, table.sequences) == (["1", "2"], SEQUENCES)
    assert table.fields == {"amp": ["true", "false"]}
    assert table.at(1).endswith("table.parquet, row 2")


def test_parquet_numbers_lists_and_nulls(read, tmp_path):
    content = parquet(
        tmp_path, id=IDS, sequence=["GIGKF", None], amp=[1.0, 0.0], kinds=[["x", "y"], None]
    )
    table = read(content, "table.parquet", label_columns=["amp"])
    assert table.sequences == ["GIGKF", ""]
    assert table.fields == {"amp": ["1", "0"]}
    assert read(content, "table.pq", label_column="kinds").fields == {"kinds": ["x;y", ""]}


def test_ids_may_be_left_to_the_program(read):
    assert read("sequence\nGIGKF\n", id_column=None).ids is None
    assert read(">\nGIGKF\n", "table.fasta", id_column=None).ids is None


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "table.csv", "the file is empty"),
        ("\ufeff \n\n", "table.csv", "the file is empty"),
        ("id,sequence\n", "table.csv", "holds no peptide, only a header"),
        ("id,Sequenz\na,GIGKF\n", "table.csv", "no column 'sequence' .*did you mean 'Sequenz'"),
        ("id,x\na,GIGKF\n", "table.csv", "data.sequence_column.*columns are 'id', 'x'"),
        ("ID,sequence\na,GIGKF\n", "table.csv", "'id' .*did you mean 'ID'.*null numbers"),
        ("id,sequence,sequence\na,G,G\n", "table.csv", "'sequence' .* stands twice"),
        ('id,sequence\na,"GIGKF\nb,KWKLF\n', "table.csv", "line 2: .*quotation marks"),
        ("id,sequence\na,é\n".encode("latin-1"), "table.csv", "line 2: byte 0xe9 is not UTF-8"),
        (b"PK\x03\x04\xff\xfe", "table.csv", "exported as CSV"),
        ("id,sequence\n", "table.xlsx", "unknown kind of table '.xlsx'; one of .csv"),
        ("GIGKF\n>a\nGIGKF\n", "table.fasta", "line 1: text before the first '>'"),
        ("not parquet", "table.parquet", "cannot be read as Parquet"),
    ],
    ids=[
        *("empty", "blank", "header only", "near column", "no column", "no id", "twice", "quote"),
        *("latin-1", "binary", "suffix", "fasta", "parquet"),
    ],
)
def test_faults_of_the_file(read, content, name, message):
    with pytest.raises(UserError, match=rf"(?s)table\..*{message}"):
        read(content, name)


def test_a_parquet_without_the_column_names_those_it_has(read, tmp_path):
    content = parquet(tmp_path, id=IDS, seq=SEQUENCES)
    with pytest.raises(UserError, match=r"no column 'sequence'.*did you mean 'seq'"):
        read(content, "table.parquet")


def test_a_missing_file_names_its_key_and_the_nearest_file(read, tmp_path):
    from structdiff.config import Data
    from structdiff.peptides.formats import read_table

    (tmp_path / "peptides.csv").write_text(TEXT)
    with pytest.raises(UserError, match=r"data\.path.*no such file; did you mean .*peptides\.csv"):
        read_table(tmp_path / "peptide.csv", Data(), "data.path")
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path, Data(), "data.path")
