"""The configuration: what is wrong is named with its key, and the guide's example is valid."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from structdiff.config import Data, Diffusion, Model, dump, load, parse, results_dir
from structdiff.diffusion.sequence_process import SEQUENCE_PROCESSES
from structdiff.model import PRESETS
from structdiff.protein.descriptors import DESCRIPTORS
from structdiff.system.errors import UserError
from tests.guide import GUIDE

ROOT = Path(__file__).parents[1]


def make(**changes: object) -> dict:
    """Return a valid mapping with some keys (`a.b`) changed."""
    mapping: dict = {"run": "test", "data": {"path": "table.csv"}}
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = mapping
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return mapping


@pytest.mark.parametrize("use_esmfold", [True, False])
def test_the_example_of_the_guide_is_valid(use_esmfold):
    text = GUIDE.replace("use_esmfold: true", f"use_esmfold: {str(use_esmfold).lower()}")
    mapping = yaml.safe_load(text)
    config = parse(mapping)
    assert config.training.optimizer.lr == 1e-4  # YAML 1.1 reads 1e-4 as a string
    assert config.training.scheduler.min_lr == 1e-6
    assert (config.training.batch_size, config.training.gradient_accumulation_steps) == (8, 4)
    assert (config.training.max_grad_norm, config.training.validate_every) == (1.0, 5)
    assert config.training.optimizer.weight_decay == 0.01
    assert config.diffusion.num_timesteps == 1000
    assert config.data.num_workers == 4
    assert config.structures.predictor == ("esmfold" if use_esmfold else "ideal")


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_the_shipped_configurations_are_valid(path):
    config = load(path)
    assert results_dir(config) == Path("results") / config.run


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("training.num_epoch", "training.num_epochs"),
        ("training.optimizer.learning_rate", None),
        ("training.optimiser", "training.optimizer"),
        ("data.label_colums", "data.label_columns"),
        ("traning", "training"),
        ("split.treshold", "split.threshold"),
        ("model.structure_encoder.use_esm", "model.structure_encoder.use_esmfold"),
        ("data.property_columns.mic.colum", "data.property_columns.mic.column"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(key, near):
    with pytest.raises(UserError) as caught:
        parse(make(**{"data.property_columns.mic.column": "MIC", key: {}}), "my.yaml")
    hint = f"did you mean '{near}'?" if near else "valid keys: name, lr, weight_decay, betas"
    assert str(caught.value) == f"my.yaml: unknown key '{key}'; {hint}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.num_epochs", "many", "should be a valid integer.*'many'"),
        ("training.num_epochs", 1.5, "valid integer"),
        ("training.num_epochs", 0, "greater than 0"),
        ("training.optimizer.lr", -1, "greater than 0"),
        ("training.optimizer.betas", [0.9, 1], "less than 1"),
        ("training.label_dropout", True, "a number, not true"),
        ("training.num_gpus", True, "a number, not true"),
        ("split.threshold", 1.1, "less than or equal to 1"),
        ("split.method", "cluster by hand", "'cluster', 'random' or 'predefined'"),
        ("data.label_columns", "amp", "valid list"),
        ("data.label_separator", "", "at least 1 character"),
        ("data.use_predicted_structures", "perhaps", "valid boolean"),
        ("model", None, "section of `key: value` lines.*None; remove it if it is empty"),
        ("data.property_columns.mic", "MIC", "section of `key: value` lines"),
        ("training.seed", 2**64, "less than 18446744073709551616"),
        ("run", "a/b", "use letters .*, digits and . _ - only"),
        ("data.residue_map", {"q1": "K"}, "give one letter, other than a standard residue"),
        ("data.residue_map", {"X": "B"}, "give one of the 20 standard residues"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(key, value, message):
    with pytest.raises(UserError, match=rf"my\.yaml: key '{key}.*': .*{message}"):
        parse(make(**{key: value}), "my.yaml")


@pytest.mark.parametrize(
    "residue_map", [{"C": "S"}, {"U": "X"}, {"U": "CC"}, {"UU": "C"}, {"u": "c"}]
)
def test_only_other_residues_are_replaced_and_only_by_standard_ones(residue_map):
    with pytest.raises(UserError, match=r"data\.residue_map"):
        parse(make(**{"data.residue_map": residue_map}))


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r"my\.yaml: key 'data' is missing"):
        parse({"run": "mine"}, "my.yaml")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(UserError) as caught:
        parse(make(**{"split.seeds": 1, "training.batch_size": 0}), "my.yaml")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.path": None}, "split.method cluster needs data.path"),
        ({"data.val_path": "v.csv"}, "split.method cluster needs data.path, and none of"),
        ({"split.method": "predefined"}, "needs data.train_path and data.val_path"),
        ({"split.val_fraction": 0.6, "split.test_fraction": 0.4}, "leave nothing to train on"),
        ({"data.residue_map": {"X": "A"}}, "residue_map is given, but data.nonstandard is reject"),
        ({"data.min_length": 60}, "data.min_length is greater than data.max_length"),
        ({"training.optimizer.lr": 1e-7}, "min_lr is 1e-06, greater than the peak, .* 1e-07"),
        (
            {"data.batch_size": 16, "training.batch_size": 8},
            "batch_size is 16 but training.batch_size is 8",
        ),
        ({"data.label_column": "a", "data.label_columns": ["b"]}, "not both"),
        (
            {"model.structure_encoder.use_esmfold": True, "structures.predictor": "ideal"},
            "use_esmfold is true but structures.predictor is ideal",
        ),
        ({"structures.predictor": "files"}, "needs structures.files.path"),
        ({"structures.files.path": "pdb"}, "come from ideal.*set structures.predictor to files"),
        (
            {"structures.structdiff.model": "m", "structures.predictor": "esmfold"},
            "structures.structdiff.model is given.*come from esmfold.*predictor to structdiff",
        ),
        (
            {"training.task_mix": {"folding": 0.7, "inverse_folding": 0.4}},
            r"my\.yaml: training\.task_mix: .*add up to 1\.2",
        ),
        ({"generation.min_length": 9, "generation.max_length": 8}, "generation.min_length"),
        (
            {"generation.labels": ["a+not b", "c", "not b + a"]},
            r"generation.labels: 'a\+not b' and 'not b \+ a' ask for the same; remove one",
        ),
        ({"generation.labels": ["c", "c"]}, "'c' and 'c' ask for the same"),
        ({"generation.forbid": "B"}, "generation: 'B' is to be forbidden"),
        ({"generation.at_most": "W=1 K=5"}, "generation: at most 'W=1 K=5'.* as W=1"),
    ],
)
def test_contradictions_are_told(changes, message):
    with pytest.raises(UserError, match=message):
        parse(make(**changes), "my.yaml")


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"data.batch_size": 16}, "training.batch_size", 16),
        ({"data.batch_size": "16", "training.batch_size": 16}, "training.batch_size", 16),
        ({"training.corners": {"folding": 0.7}}, "training.task_mix.folding", 0.7),
        ({"model.structure_encoder.use_esmfold": True}, "structures.predictor", "esmfold"),
        ({"model.structure_encoder.use_esmfold": "False"}, "structures.predictor", "ideal"),
        (
            {"model.structure_encoder.use_esmfold": False, "structures.predictor": "structdiff"},
            "structures.predictor",
            "structdiff",
        ),
        ({"structures.predictor": None}, "structures.predictor", "ideal"),
    ],
)
def test_a_second_name_is_the_same_setting(changes, key, value):
    config = parse(make(**changes))
    dumped = yaml.safe_load(dump(config))
    for name in key.split("."):
        dumped = dumped[name]
    assert dumped == value
    aliases = ("corners", "structure_encoder", "use_esmfold")
    assert not any(f"{alias}:" in dump(config) for alias in aliases)
    assert "batch_size" not in yaml.safe_load(dump(config))["data"]


def test_what_decides_a_result_leaves_out_what_reruns_nothing():
    config = parse(make())
    free = {"activation_checkpointing", "compile", "keep_checkpoints", "save_every"}
    factors = {"batch_size", "gradient_accumulation_steps", "num_gpus", "num_nodes"}
    settings = set(config.training.model_dump())
    left_out = free | factors | {"validate_every"}
    assert set(config.training.deciding()) == settings - left_out
    assert "num_workers" not in config.data.deciding()
    assert config.training.effective_batch == 32


def test_values_that_arrive_as_text_are_typed():
    config = parse(make(**{"training.num_epochs": "7", "data.limit": "null"}))
    assert config.training.num_epochs == 7
    assert config.data.limit is None


def test_what_is_dumped_reads_back_the_same(tmp_path):
    config = parse(make(**{"data.label_columns": ["α", "b"], "training.optimizer.lr": 3e-5}))
    (tmp_path / "config.yaml").write_text(dump(config), encoding="utf-8")
    assert load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such configuration file"),
        (b"", "must hold `key: value` lines"),
        (b"- a\n- b\n", "must hold `key: value` lines"),
        (b"run: [unclosed\n", "is not valid YAML.*line 2"),
        (b"run: \xff\n", "cannot be read as text.*save it as UTF-8"),
    ],
    ids=["missing", "empty", "list", "broken", "bytes"],
)
def test_files_that_are_no_configuration(tmp_path, content, message):
    path = tmp_path / "my.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s)my\.yaml.*{message}"):
        load(path)


def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes("\ufeffrun: test\r\ndata:\r\n  path: x.csv\r\n".encode())
    assert load(path).data.path == "x.csv"


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, structdiff.config; "
        "sys.exit(bool({'torch', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: a\ndata: {path: x.csv}\nrun: b\n", "'run' stands twice, in lines 1 and 3"),
        ("data:\n  path: x.csv\n  path: y.csv\n", "'path' stands twice, in lines 2 and 3"),
        ("data: {path: x.csv, path: y.csv}\n", "'path' stands twice, in lines 1 and 1"),
        ("data:\n\tpath: x.csv\n", "line 2.*indent with spaces, not with tabs"),
        ("data: {path: x.csv}\ntraining: {num_epochs: .inf}\n", "training.num_epochs.*finite"),
        ("data: {path: x.csv}\ntraining: {optimizer: {lr: .nan}}\n", "optimizer.lr.*finite"),
        ("data: {path: x.csv}\ngeneration: {temperature: inf}\n", "generation.temperature.*finite"),
        ("run: no\ndata: {path: x.csv}\n", "'run': .*got False; .*in quotation marks"),
        ("run: 2024\ndata: {path: x.csv}\n", "'run': .*got 2024; .*in quotation marks"),
        ("data: {path: x.csv, label_columns: [on]}\n", "data.label_columns.0': .*got True"),
        ("data: {path: x.csv, label_columns: {amp: 1}}\n", "data.label_columns.amp': .*got 1"),
        ("? [a, b]\n: 1\ndata: {path: x.csv}\n", "is not valid YAML"),
    ],
)
def test_mistakes_that_yaml_takes_without_a_word(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"(?s)my\.yaml.*{message}"):
        load(path)


def test_sections_may_share_keys_by_a_merge(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(
        "data: {path: x.csv}\nsplit: &base {seed: 3}\ngeneration: {<<: *base, num_samples: 5}\n"
    )
    config = load(path)
    assert (config.generation.seed, config.generation.num_samples) == (3, 5)


@pytest.mark.parametrize(
    "key",
    [
        "data.path",
        "structures.cache",
        "structures.esmfold.model",
        "evaluation.esm2_weights",
    ],
)
def test_the_home_folder_is_expanded_in_paths(key, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    value = parse(make(**{key: "~/my/file"}))
    for name in key.split("."):
        value = getattr(value, name)
    assert value == "/home/me/my/file"


def test_labels_are_columns_or_names_of_columns():
    assert parse(make(**{"data.label_columns": ["a"]})).data.label_sources == {"a": "a"}
    renamed = parse(make(**{"data.label_columns": {"gram_positive": "Gram+"}})).data
    assert renamed.label_sources == {"gram_positive": "Gram+"}
    assert list(renamed.label_columns) == ["gram_positive"]


@pytest.mark.parametrize(
    ("section", "key", "registered"),
    [
        (Data, "descriptors", DESCRIPTORS),
        (Model, "preset", PRESETS),
        (Diffusion, "sequence_process", SEQUENCE_PROCESSES),
    ],
)
def test_what_is_registered_can_be_named_and_is_described(section, key, registered):
    schema = section.model_json_schema()["properties"][key]
    assert set(schema.get("items", schema)["enum"]) == set(registered)
    assert all(name in schema["description"].lower() for name in registered)
