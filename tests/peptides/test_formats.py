"""Every kind of table is read to the same columns, and every row keeps its place in the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structdiff.config import Data
from structdiff.peptides.formats import read_table
from structdiff.peptides.sequences import read_sequences
from structdiff.peptides.table import reasons, sort_rows
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
        (TEXT.encode("utf-16"), "table.csv"),
        (TEXT.replace(",", "\t").encode("utf-16"), "unicode.txt"),
        ("sep=;\r\n" + TEXT.replace(",", ";"), "table.csv"),
        ("sep=|\n\n" + TEXT.replace(",", "|"), "table.csv"),
        (TEXT.replace(",", "\t").replace("a\tGIGKFLHSAK", '"a"\t"GIGKFLHSAK"'), "table.tsv"),
    ],
    ids=[
        *("plain", "bom", "crlf", "cr", "bom+crlf", "tsv", "txt", "tabs in csv", "semicolons"),
        *("spaces", "quoted", "unended", "blank lines", "utf-16", "unicode text", "sep=;", "sep=|"),
        "quoted tsv",
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


@pytest.mark.parametrize(
    ("delimiter", "note", "last"),
    [
        ("\t", '"start', 'of 3"'),
        ("\t", '"Magainin"-like', '"start'),
        (",", '"start', 'of 3"'),
        (",", '"start', "never ended"),
        (",", '"Magainin"-like', '"start'),
        (";", '"start', 'of 3"'),
    ],
)
def test_stray_quotation_marks_swallow_no_row(read, delimiter, note, last):
    rows = [f"p{number} GIGKFLHSA x {number % 2}" for number in range(12)]
    rows[3], rows[9] = f"p3 GIGKFLHSA {note} 1", f"p9 GIGKFLHSA {last} 1"
    text = "\n".join(["id sequence note amp", *rows]).replace(" ", delimiter)
    text = text.replace(f"of{delimiter}3", "of 3").replace(f"never{delimiter}ended", "never ended")
    table = read(text, "table.tsv" if delimiter == "\t" else "table.csv", label_columns=["amp"])
    assert table.places == list(range(2, 14))
    assert table.fields["amp"] == [row[-1] for row in rows]


def test_cells_of_a_csv_may_hold_line_ends_in_any_column(read):
    text = 'id,note,sequence\n"a\n1","one two\nthree, four",GIGKF\nb,"x\ny",KWKLF\nc,z,FFHHI\n'
    table = read(text)
    assert table.ids == ["a\n1", "b", "c"]
    assert table.places == [2, 5, 7]
    assert not table.broken


def test_a_quotation_mark_in_a_sequence_is_part_of_it(read):
    table = read('id,sequence\na,"GIGKF\nb,KWKLF\n')
    assert table.sequences == ['"GIGKF', "KWKLF"]


def test_thousands_of_label_columns(clean_text, recwarn):
    names = [f"label {number}" for number in range(3000)]
    cells = ",".join(str(number % 2) for number in range(3000))
    rows = [f"p{number},{'GIGKF' + 'AC' * number},{cells}" for number in range(20)]
    text = "\n".join([",".join(["id", "sequence", *names]), *rows])
    cleaned = clean_text(text, label_columns=names)
    assert cleaned.frame[names].sum().tolist() == [0, 20] * 1500
    assert not recwarn.list


def test_labels_may_have_other_names_than_their_columns(read):
    columns = {"gram_positive": "Gram+", "amp": "AMP activity"}
    table = read("id,sequence,Gram+,AMP activity\na,GIGKF,1,0\n", label_columns=columns)
    assert table.fields == {"gram_positive": ["1"], "amp": ["0"]}
    table = read(">a Gram+=1\nGIGKF\n", "t.fasta", label_columns={"gram_positive": "Gram+"})
    assert table.fields == {"gram_positive": ["1"]}


def test_every_missing_column_is_named_with_the_nearest(read):
    with pytest.raises(UserError) as caught:
        read("id,sequence,gram+,amp\na,GIGKF,1,0\n", label_columns=["Gram+", "afp", "amp"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "'Gram+' (data.label_columns); did you mean 'gram+'?" in lines[0]
    assert "'afp' (data.label_columns); did you mean 'amp'?" in lines[1]


def test_a_fasta_without_the_label_field_says_so(read):
    with pytest.raises(UserError, match=r"no header has a field 'amp='.*such as '>a amp=1'"):
        read(">a label=amp\nGIGKF\n", "table.fasta", label_columns=["amp"])


def test_a_fasta_in_a_text_file_is_known_by_its_first_character(read):
    table = read(";made by hand\n>a\nGIGKF LHSAK\n>b\nKWKLF\n", "table.fasta")
    assert table.sequences == ["GIGKF LHSAK", "KWKLF"]
    assert read(">a\nGIGKF\n", "peptides.txt").ids == ["a"]


def test_fasta(read):
    text = ">a first kind=amp;afp\nGIGK\nFLHSAK\n\n>b\r\nKWKLFKKIGA\n>c other=1 kind=avp"
    table = read(text, "table.fasta", label_column="kind")
    assert table.ids == ["a", "b", "c"]
    assert table.sequences == [*SEQUENCES, ""]
    assert table.fields == {"kind": ["amp;afp", "", "avp"]}
    assert table.places == [1, 5, 7]


def test_fasta_fields_of_several_words_are_read_whole(read):
    text = ">a x_amp=0 kind=amp; not gram positive mic=2 mM amp=1 a peptide\nGIGKF\n"
    columns = {"mic": {"column": "mic", "unit": "uM"}}
    table = read(text, "t.fa", label_column="kind", property_columns=columns)
    assert table.fields == {"kind": ["amp; not gram positive"], "mic": ["2 mM"]}
    assert read(text, "t.fa", label_columns=["amp"]).fields == {"amp": ["1"]}
    odd = read(">a mic=4 Gram+=1\nGIGKF\n", "t.fa", property_columns=columns)
    assert odd.fields == {"mic": ["4"]}


def test_row_names_are_not_the_integer_parts_of_decimal_commas(read):
    rows = [f"{number},GIGKFLHSAK{'K' * number},1" for number in range(1, 6)]
    named = read("id,sequence,amp\n" + "\n".join(f"r{row[0]},{row}" for row in rows))
    assert named.ids == ["1", "2", "3", "4", "5"]
    filtered = "id\tsequence\tamp\n3\ta\tGIGKF-NH2\t1\n7\tb\tKWKLF\t0\n"
    assert read(filtered, "t.tsv").ids == ["a", "b"]
    quoted = '"id","sequence"\n"10","a","GIGKF-NH2"\n"2","b","KWKLF"\n'
    assert read(quoted).ids == ["a", "b"]
    first = "mic,id,sequence\n2,25,a,GIGKF\n4,50,b,KWKLF\n2,50,c,KWKLF\n"
    last = "id,sequence,mic\na,GIGKF,2,25\nb,KWKLF,4,50\n"
    for text in (first, last):
        table = read(text)
        assert not table.sequences
        assert (
            "4 fields where the header has 3; a cell that holds a comma" in table.broken[0].reason
        )


def test_a_configured_column_is_not_read_as_ends(read):
    text = "id,sequence,act\na,GIGKF,1\nb,KWKLF,0\n"
    assert not any(each.acetylated for each in read(text).ends)  # it may be an activity
    pair = "id,sequence,act,amd\na,GIGKF,1,0\nb,KWKLF,0,0\n"
    assert [each.acetylated for each in read(pair).ends] == [True, False]
    table = read(text, label_columns=["act"])
    assert not any(each.acetylated for each in table.ends)
    assert table.fields == {"act": ["1", "0"]}
    label = read(text, label_columns={"acetylated": "act"})
    assert [each.acetylated for each in label.ends] == [True, False]


def test_a_header_may_have_names_of_two_lines(read):
    text = 'id,"MIC\n(uM)",sequence\na,2,GIGKF\nb,4,KWKLF\n'
    table = read(text, property_columns={"mic": {"column": "MIC (uM)"}})
    assert table.sequences == ["GIGKF", "KWKLF"]
    assert table.fields == {"mic": ["2", "4"]} and table.places == [3, 4]
    stray = 'id,sequence,x,"a\np1,GIGKF,1,"q"\np2,KWKLF,1,"q"\n'
    assert read(stray).sequences == ["GIGKF", "KWKLF"]
    first = '"MIC\n(uM)",id,sequence\n2,a,GIGKF\n'
    assert read(first, property_columns={"mic": {"column": "MIC (uM)"}}).fields == {"mic": ["2"]}


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


def test_messages_about_parquet_have_rows(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(parquet(tmp_path, id=["a", "a"], sequence=SEQUENCES))
    with pytest.raises(UserError, match="row 2: the id 'a' is in row 1 too"):
        read_sequences(path, "fold")
    data = Data(path=str(path), min_length=20)
    rows = sort_rows([read_table(path, data, "data.path")], data)
    assert reasons(rows.rejected)[0].startswith("2 × such as row 1: ")


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_command_without_a_configuration_names_no_key_of_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(
        parquet(tmp_path, ID=IDS, sequence=SEQUENCES)
        if path.suffix == ".parquet"
        else TEXT.replace("id,", "ID,").encode()
    )
    with pytest.raises(UserError, match=r"no column 'id'; did you mean 'ID'.*rename one .* 'id'$"):
        read_sequences(path, "fold")


def test_parquet_numbers_lists_and_nulls(read, tmp_path):
    content = parquet(tmp_path, id=IDS, sequence=["GIGKF", None], amp=[1.0, 0.0])
    table = read(content, "table.parquet", label_columns=["amp"])
    assert table.sequences == ["GIGKF", ""]
    assert table.fields == {"amp": ["1", "0"]}
    pairs = pa.array([["x", "y"], None], pa.list_(pa.string(), 2))
    for kinds in [["x", "y"], None], [["x", None, "y"], []], pairs:
        content = parquet(tmp_path, id=IDS, sequence=SEQUENCES, kinds=kinds)
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
        ("id,sequence,sequence\na,G,G\n", "table.csv", "'sequence' .* is there twice"),
        ("id,\uff53equence\na,G\n", "table.csv", r"looks the same.*: U\+FF53; copy it"),
        ("id,sequence\u00a0\u00a0x\na,G\n", "table.csv", "did you mean"),
        ("Table S1;\n\nid;sequence\na;G\n", "table.csv", "line 3: seems to be the header"),
        ("id|sequence\na|G\n", "table.csv", "the only column is 'id|sequence': separate"),
        ("Id\nGIGKF\n", "table.csv", "'id' .*did you mean 'Id'.*columns are 'Id'"),
        ("id,sequence\na,é\n".encode("latin-1"), "table.csv", "line 2: byte 0xe9 is not UTF-8"),
        (b"PK\x03\x04\xff\xfe", "table.csv", "exported as CSV"),
        ("id,sequence\n", "table.xlsx", "unknown kind of table '.xlsx'; one of .csv.*sheet as CSV"),
        ("id,sequence\na,GI".encode("utf-16-le"), "table.csv", "line 1: a zero byte"),
        (
            TEXT.encode("utf-16")[:-1],
            "table.csv",
            r"line 3: UTF-16 text .* cut off \(truncated data",
        ),
        ("GIGKF\n>a\nGIGKF\n", "table.fasta", "line 1: text before the first '>'"),
        ("not parquet", "table.parquet", "cannot be read as Parquet"),
    ],
    ids=[
        *("empty", "blank", "header only", "near column", "no column", "no id", "twice"),
        *("look-alike", "near words", "title", "separator", "one column"),
        *("latin-1", "binary", "suffix", "utf-16 without mark", "cut utf-16", "fasta", "parquet"),
    ],
)
def test_faults_of_the_file(read, content, name, message):
    with pytest.raises(UserError, match=rf"(?s)table\..*{message}"):
        read(content, name)


def test_a_missing_file_names_its_key_and_the_nearest_file(read, tmp_path):
    (tmp_path / "peptides.csv").write_text(TEXT)
    with pytest.raises(UserError, match=r"data\.path.*no such file; did you mean .*peptides\.csv"):
        read_table(tmp_path / "peptide.csv", Data(), "data.path")
    with pytest.raises(UserError, match="is a folder"):
        read_table(tmp_path, Data(), "data.path")
    with pytest.raises(UserError, match=r"\(data\.path\): cannot be read: File name too long"):
        read_table(tmp_path / ("x" * 300 + ".csv"), Data(), "data.path")
