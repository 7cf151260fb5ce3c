"""The typed configuration: every key, its type, default, bounds and meaning.

``load(path)`` reads a YAML file and returns a `Config`; ``parse(mapping, source)`` does the same
for a mapping that is already in memory. A mistake (an unknown key, a wrong type, a value out of
bounds, two keys that contradict each other) raises `UserError` with the key, the file and, for an
unknown key, the nearest valid name. The key names of the former scripts (docs/migration.md) are
kept. If a setting has a second name (``model.structure_encoder.use_esmfold``, …), a validator
replaces it by the first name, and all other code uses the first.

A change of a field of type `Free` does not rerun a stage. A change of fields of type `Factor` does
not rerun a stage if the product of these fields is the same. `Section.deciding` leaves out both
types. The configuration is read here, at the start of a stage, and passed on as values.
"""

import copy
import difflib
import math
import os
import re
import typing
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic
import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_core import PydanticCustomError

from structdiff.settings import Sampling
from structdiff.system.errors import UserError
from structdiff.system.plugins import PREDICTORS

__all__ = ["PARAMETERS", "Config", "dump", "load", "parse", "read_yaml", "results_dir"]

Fraction = typing.Annotated[float, Field(ge=0.0, le=1.0)]
DecayRate = typing.Annotated[float, Field(ge=0.0, lt=1.0)]


def _path(text: str) -> str:
    """Return a path with ``~`` expanded; reject characters that come from mistakes in YAML."""
    if not text.isprintable():
        raise PydanticCustomError(
            "path",
            "Has a tab, a line end or another sign that paths do not have; in YAML, \\t and \\n "
            "between double quotation marks are such signs: take single ones, or / for \\",
        )
    return os.path.expanduser(text)  # noqa: PTH111, as Path would drop './' and a last '/'


# Names are in Unicode's composed form, the form in which tables are read.
Name = typing.Annotated[
    str, pydantic.AfterValidator(lambda text: unicodedata.normalize("NFC", text))
]
PathText = typing.Annotated[str, Field(min_length=1), pydantic.AfterValidator(_path)]
NONSTANDARD = r"^[BJOUXZa-z*\-.]$"
STANDARD = r"^[ACDEFGHIKLMNPQRSTVWY]?$"
RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
PROPERTY_NAME = r"^[A-Za-z]\w*$"
IN_WORDS = {
    NONSTANDARD: "give one letter, other than a standard residue in upper case, or one of * - .",
    STANDARD: "give one of the 20 standard residues, or an empty text",
    RUN_NAME: "use letters (A-Z, a-z), digits and . _ - only, and begin with a letter or a digit",
    PROPERTY_NAME: "use letters, digits and _ only, and begin with a letter (A-Z, a-z)",
}
"""What each pattern of a text allows, in words, for messages."""
UNITS = {
    **{unit: unit for unit in ("pm", "nm", "um", "mm", "ng/ml", "ug/ml", "mg/ml")},
    **{f"{prefix}mol/l": f"{prefix}m" for prefix in "pnum"},
    "ug/l": "ng/ml",
    "mg/l": "ug/ml",
    "g/l": "mg/ml",
}
"""Units of concentrations in lower case with u for µ, and the usual one of equal units."""
Nonstandard = typing.Annotated[str, Field(pattern=NONSTANDARD)]
RunName = typing.Annotated[str, Field(pattern=RUN_NAME, max_length=100)]
UnlistedState = Literal["absent", "unknown"]
Unlisted = typing.Annotated[
    typing.Annotated[UnlistedState, pydantic.Tag("as word")]
    | typing.Annotated[dict[Name, UnlistedState], pydantic.Tag("as mapping")],
    pydantic.Discriminator(lambda value: "as mapping" if isinstance(value, Mapping) else "as word"),
]
LabelColumns = typing.Annotated[
    typing.Annotated[list[Name], pydantic.Tag("as list")]
    | typing.Annotated[dict[Name, Name], pydantic.Tag("as mapping")],
    pydantic.Discriminator(lambda value: "as mapping" if isinstance(value, Mapping) else "as list"),
]

T = typing.TypeVar("T")
Free = typing.Annotated[T, Field(json_schema_extra={"rerun": False})]
"""Type of a setting that does not change the result of a stage: a new value reruns no stage."""
Factor = typing.Annotated[T, Field(json_schema_extra={"rerun": "product"})]
"""Type of a factor of the effective batch size; only the product of the factors changes results."""


class Section(pydantic.BaseModel):
    """A section of the configuration; an unknown key is an error."""

    model_config = pydantic.ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    def deciding(self) -> dict[str, Any]:
        """Return the settings on which the result of a stage depends, as plain values by name.

        Settings of type `Free` or `Factor` are left out, also in the sections within this one.
        """
        values = self.model_dump(
            mode="json", exclude={*self._marked(False), *self._marked("product")}
        )
        sections = {name: value for name, value in self if isinstance(value, Section)}
        return values | {
            name: sections[name].deciding() for name in sections.keys() & values.keys()
        }

    @pydantic.field_validator("*", mode="wrap")
    @classmethod
    def _true_is_not_1(cls, value: Any, validate: Callable[[Any], Any]) -> Any:
        """Reject true where a number is expected, such as a share: pydantic reads true as 1."""
        result = validate(value)
        if value is True and result is not True:
            raise PydanticCustomError("number", "Should be a number, not true")
        return result

    @classmethod
    def _marked(cls, rerun: bool | str) -> list[str]:
        """Return the fields with the mark ``rerun``: False (`Free`) or "product" (`Factor`)."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return [n for n, e in extras.items() if isinstance(e, dict) and e.get("rerun") == rerun]


Descriptor = Literal[
    "charge", "hydrophobicity", "hydrophobic_moment", "isoelectric_point", "molecular_weight"
]
PropertyName = typing.Annotated[str, Field(pattern=PROPERTY_NAME, max_length=60)]


class PropertyColumn(Section):
    """A measured property of the peptides: a column of numbers in the table."""

    column: Name
    """Column of the table; blank where nothing was measured."""
    unit: str = ""
    """Unit of the numbers, shown to readers, such as `uM`."""
    scale: Literal["linear", "log10"] = "linear"
    """log10 for numbers that differ by factors, such as concentrations; all must be above 0."""


class Data(Section):
    """Input: the tables of peptides, their columns, and which peptides are used."""

    path: PathText | None = None
    """The table of peptides: CSV, TSV, FASTA or Parquet. For `split.method` cluster and random."""
    train_path: PathText | None = None
    """The training table, where `split.method` is predefined."""
    val_path: PathText | None = None
    """The validation table, where `split.method` is predefined."""
    test_path: PathText | None = None
    """The test table, where `split.method` is predefined (optional)."""
    id_column: Name | None = "id"
    """Column of the identifiers; null numbers the peptides by their sequence's hash."""
    sequence_column: Name = "sequence"
    """Column of the sequences."""
    label_columns: LabelColumns = []
    """Columns of labels: 1, 0 or blank (not known). A peptide may have several labels. A mapping
    renames them: `{gram_positive: "Gram+"}` reads the label gram_positive from the column Gram+."""
    label_column: Name | None = None
    """One column (or FASTA header field `key=a;b`) that lists the label names."""
    label_separator: typing.Annotated[str, Field(min_length=1)] = ";"
    """Separator of the names in `label_column`."""
    unlisted_is: Unlisted = "absent"
    """Meaning of a 0, or of a name that `label_column` does not list: absent (the peptide lacks the
    label) or unknown (for databases that list only the labels a peptide has). A mapping sets it for
    each label: `{antiviral: unknown}`. With unknown, `not NAME` in a list means a known absence."""
    property_columns: dict[PropertyName, PropertyColumn] = {}
    """Measured numbers that the model is conditioned on: `{ecoli_mic: {column: MIC, unit: uM,
    scale: log10}}`. A blank is unknown; several measurements of one sequence are averaged."""
    descriptors: list[Descriptor] = []
    """Computed numbers that the model is conditioned on: charge, hydrophobicity,
    hydrophobic_moment, isoelectric_point, molecular_weight (docs/columns.md defines them)."""
    min_length: PositiveInt = 5
    """Shortest peptide kept, in residues."""
    max_length: PositiveInt = 50
    """Longest peptide kept, in residues."""
    nonstandard: Literal["reject", "map"] = "reject"
    """What to do with a residue outside the 20: reject the peptide, or map by `residue_map`."""
    residue_map: dict[Nonstandard, typing.Annotated[str, Field(pattern=STANDARD)]] = {
        "U": "C",
        "O": "K",
        "B": "N",
        "Z": "Q",
    }
    """Replacement of each non-standard residue when `nonstandard` is map ('' removes it). A key in
    lower case, such as `k` for K, stands for the D residue in upper-case sequences."""
    use_predicted_structures: bool = True
    """Whether to train on structures; false trains on sequences alone."""
    batch_size: PositiveInt | None = Field(default=None, exclude=True, deprecated=True)
    """Former name of `training.batch_size`."""
    num_workers: Free[NonNegativeInt] = 2
    """Threads that prepare the next batches while the model computes; 0 for none."""
    limit: PositiveInt | None = None
    """Use only this many peptides, for a quick check."""

    @pydantic.model_validator(mode="after")
    def _units_agree(self) -> "Data":
        """Reject a header such as ``MIC (µg/mL)`` or ``MIC_uM`` that names another unit."""
        for name, one in self.property_columns.items():
            header = one.column.strip()
            found = re.search(r"(?:[(\[]|[\s_,](?=[^\s_,]+$))([^()\[\]]+)[)\]]?$", header)
            units = [
                UNITS.get(re.sub("[µμ]", "u", unit.replace(" ", "").lower()))
                for unit in (found[1] if found else "", one.unit)
            ]
            if None not in units and units[0] != units[1]:
                raise ValueError(
                    f"data.property_columns.{name}: the column '{one.column}' names another unit, "
                    f"but unit is {one.unit}; correct 'unit', or convert the numbers"
                )
        return self

    @property
    def label_sources(self) -> dict[str, str]:
        """Column of the table for each label of `label_columns`, by label."""
        columns = self.label_columns
        return dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}


class Split(Section):
    """How the peptides are divided into train, val and test."""

    method: Literal["cluster", "random", "predefined"] = "cluster"
    """cluster keeps similar peptides together; predefined takes `data.train_path` and so on, and is
    the default where these are given."""
    threshold: Fraction = 0.7
    """Normalised Levenshtein similarity at or above which two peptides share a cluster."""
    val_fraction: Fraction = 0.1
    """Share of the peptides to validate on."""
    test_fraction: Fraction = 0.1
    """Share of the peptides to test on."""
    seed: int = 0
    """Seed of the hashes that assign clusters (method random: peptides) to the splits."""


class Files(Section):
    """Settings of the predictor `files`, which reads the user's structure files."""

    path: PathText | None = None
    """Folder, or tar archive, of PDB or mmCIF files; matched to the peptides by sequence."""


class HubPredictor(Section):
    """A predictor whose weights are on the Hugging Face hub or in a local directory."""

    title: ClassVar[str]
    """Name of the predictor for users."""
    weights_gib: ClassVar[int]
    """Size of the weights, GiB."""

    model: PathText


class ESMFold(HubPredictor):
    """Predictor `esmfold`: ESMFold, by transformers' `EsmForProteinFolding`."""

    title: ClassVar[str] = "ESMFold"
    weights_gib: ClassVar[int] = 8

    model: PathText = "facebook/esmfold_v1"
    """Hub id or local directory."""
    revision: str | None = None
    """Revision of the weights on the hub."""
    num_recycles: PositiveInt = 4
    """Passes through the folding trunk."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of the language model and the trunk; geometry is always float32."""


class ESMFold2(HubPredictor):
    """Predictor `esmfold2`: ESMFold2, by transformers' `EsmFold2Model`."""

    title: ClassVar[str] = "ESMFold2"
    weights_gib: ClassVar[int] = 28

    model: PathText = "biohub/ESMFold2"
    """Hub id or local directory."""
    revision: str | None = None
    """Revision of the weights on the hub."""
    num_loops: NonNegativeInt | None = None
    """Passes through the folding trunk after the first; null takes the number that comes with the
    weights."""
    num_steps: PositiveInt | None = None
    """Length of the sampler's noise schedule; null takes the number that comes with the weights."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of the network; coordinates are always float32."""
    seed: NonNegativeInt = 0
    """Seed of the sampler's noise, which is different for each peptide."""


class TrainedPredictor(Section):
    """Predictor `structdiff`: a model that StructDiff has trained."""

    model: PathText | None = None
    """`model.safetensors` of another run; null is the model that comes with the package."""


class Structures(Section):
    """Structures: the predictor and its cache."""

    predictor: str = "ideal"
    """ideal (a baseline from the sequence), files (yours), esmfold, esmfold2, structdiff (a model
    that was trained before), or one that another package adds."""
    cache: PathText = "resources/structures"
    """Folder of the Parquet cache, shared by all runs."""
    max_failures: NonNegativeInt = 0
    """Largest number of peptides that may fail to fold; if more fail, the stage fails."""
    shard_size: PositiveInt = 5000
    """Largest number of peptides in one folding job."""
    files: Files = Files()
    esmfold: ESMFold = ESMFold()
    esmfold2: ESMFold2 = ESMFold2()
    structdiff: TrainedPredictor = TrainedPredictor()
    options: dict[str, Any] = {}
    """Settings of a predictor that another package adds, by name."""

    @property
    def hub(self) -> HubPredictor | None:
        """Section of the chosen predictor if it is a `HubPredictor`; None for other predictors."""
        section = getattr(self, self.predictor, None)
        return section if isinstance(section, HubPredictor) else None

    @pydantic.field_validator("predictor")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in PREDICTORS.built_in and name not in PREDICTORS.names():
            raise ValueError(
                f"structures.predictor: there is no '{name}', but {', '.join(PREDICTORS.names())}"
            )
        return name


class StructureEncoder(Section):
    """Deprecated section of the former scripts (docs/migration.md)."""

    use_esmfold: bool | None = Field(default=None, exclude=True, deprecated=True)
    """Former setting of the predictor: true means `structures.predictor: esmfold`."""


PARAMETERS = {"tiny": 1.25e6, "small": 3.4e6, "base": 17.8e6, "large": 126e6}
"""Approximate number of parameters of each `model.preset`, so that torch need not be imported."""


class Model(Section):
    """The size of the denoiser."""

    preset: Literal["tiny", "small", "base", "large"] = "small"
    """tiny about 1 M parameters, small 3 M, base 18 M, large 125 M."""
    structure_encoder: StructureEncoder = Field(
        default=StructureEncoder(), exclude=True, deprecated=True
    )
    """Former section of `use_esmfold`; `structures.predictor` replaces it."""


class Optimizer(Section):
    """The optimizer: AdamW, or Muon, which needs fewer steps."""

    name: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon: Muon for the matrices of the blocks, AdamW for all else, at one `lr`."""
    lr: PositiveFloat = 1e-4
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay of matrices; biases, norms and embeddings are not decayed. With
    `training.init` it pulls all weights towards the starting weights instead of zero."""
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.98)
    """AdamW's two decay rates."""


class Scheduler(Section):
    """The learning-rate schedule: linear warm-up, then cosine to `min_lr` (or constant)."""

    name: Literal["cosine", "constant"] = "cosine"
    warmup_steps: NonNegativeInt = 100
    """Optimizer steps of linear warm-up."""
    min_lr: NonNegativeFloat = 1e-6
    """Learning rate at the last step."""


class TaskMix(Section):
    """Shares of peptides that train one task; all others train sequence and backbone together."""

    folding: Fraction = 0.3
    """Clean sequence, noisy backbone; only peptides with a structure."""
    inverse_folding: Fraction = 0.1
    """Noisy sequence, clean backbone; only peptides with a structure."""
    sequence_only: Fraction = 0.1
    """Noisy sequence, a backbone of pure noise."""

    @pydantic.model_validator(mode="after")
    def _are_shares(self) -> "TaskMix":
        total = self.folding + self.inverse_folding + self.sequence_only
        if total > 1:
            raise ValueError(f"training.task_mix: the shares add up to {total:g}, more than 1")
        return self


class Training(Section):
    """Training: epochs, batches, processes, checkpoints and losses."""

    num_epochs: PositiveInt = 100
    """Passes over the training peptides; raising the number continues a finished training."""
    batch_size: Factor[PositiveInt] = 8
    """Peptides in one forward pass of one process."""
    gradient_accumulation_steps: Factor[PositiveInt] = 4
    """Forward passes of one process before an optimizer step. Effective batch = `batch_size` ×
    `gradient_accumulation_steps` × `num_gpus` × `num_nodes`."""
    num_gpus: Factor[PositiveInt] = 1
    """Number of processes on each node, one for each GPU. Without a GPU, the processes train on the
    CPU (gloo), and 1 means one process for each granted core, but at most one for each micro-batch
    of a step."""
    num_nodes: Factor[PositiveInt] = 1
    max_grad_norm: PositiveFloat = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to this norm."""
    validate_every: Free[PositiveInt] = 5
    """Epochs between validations (the last epoch is always validated)."""
    save_every: Free[PositiveInt] = 10
    """Epochs between the kept checkpoints `checkpoint_epoch_N.pth`."""
    keep_checkpoints: Free[PositiveInt] = 5
    """Number of `checkpoint_epoch_N.pth` that are kept; older ones are removed."""
    ema_decay: Fraction = 0.999
    """Decay of the moving average of the weights, which validation and the final model use."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 on a GPU, float32 elsewhere. Geometry is always float32."""
    compile: Free[bool] = False
    """Whether to compile the network (torch.compile): slower to start by some seconds for each of
    about 25 lengths of a batch, then 1.15 times as fast on a CPU (not measured on a GPU)."""
    activation_checkpointing: Free[bool] = False
    """Whether to compute activations again in the backward pass instead of keeping them. This needs
    less memory and gives the same result, a third slower."""
    structure_weight: NonNegativeFloat = 1.0
    """Weight of the structure loss in the total."""
    self_conditioning: Fraction = 0.5
    """Share of steps that call the network twice, the second time with its estimate as input."""
    label_dropout: Fraction = 0.1
    """Share of peptides trained without labels, for classifier-free guidance."""
    task_mix: TaskMix = TaskMix()
    corners: TaskMix | None = Field(default=None, exclude=True, deprecated=True)
    """Former name of `task_mix`."""
    init: PathText | None = None
    """Starting weights: `released` (the model that comes with the package), or the path of a
    `model.safetensors` or a checkpoint; null starts from random weights. Labels and properties
    are matched by name; `model.preset` must be the preset of the starting model. Composition and
    temperature of the residues are fitted first, then few weights are trained, then all."""
    structure_repeats: PositiveInt = 1
    """How often an epoch uses a peptide with a structure; raise it if few peptides have one."""
    seed: typing.Annotated[int, Field(ge=-(2**63), lt=2**64)] = 0
    optimizer: Optimizer = Optimizer()
    scheduler: Scheduler = Scheduler()

    @pydantic.model_validator(mode="after")
    def _rate_falls(self) -> "Training":
        peak, least = self.optimizer.lr, self.scheduler.min_lr
        if self.scheduler.name == "cosine" and least > peak:
            raise ValueError(
                f"training.scheduler.min_lr is {least:g}, greater than the peak, "
                f"training.optimizer.lr {peak:g}"
            )
        return self

    @property
    def effective_batch(self) -> int:
        """Number of peptides in one optimizer step, over all processes."""
        return math.prod(getattr(self, name) for name in self._marked("product"))


class Diffusion(Section):
    """Diffusion: the noise processes."""

    num_timesteps: PositiveInt = 1000
    """Number of noise levels from a clean peptide to pure noise."""
    sequence_process: Literal["masked", "gaussian"] = "masked"
    """masked (absorbing) discrete diffusion, or Gaussian on normalised residue embeddings."""


class Selection(Section):
    """Selection: the checkpoint that becomes the model."""

    metric: Literal["total", "diffusion", "structure"] = "total"
    """Validation loss by which the checkpoint is chosen; the lowest is best."""
    epoch: NonNegativeInt | None = None
    """If not null, only checkpoints of this epoch are considered."""


class Generation(Section):
    """Generation: the sets of designs and the settings of the sampler."""

    labels: list[Name] | None = None
    """One set of peptides for each entry: `a + not b` asks for the label a and for the absence of
    b, `a + charge 4..7 + ecoli_mic<8` for properties as well, `a + length 10..20` for lengths,
    `none` for nothing. If null, one set for each label of the data."""
    num_samples: PositiveInt = 200
    """Designs in each set."""
    shard_size: Free[PositiveInt] = 20_000
    """Approximate number of designs in one job; if `num_samples` is larger, several jobs draw the
    designs of a set."""
    num_steps: PositiveInt = Sampling.num_steps
    """Largest number of denoising steps. With masked diffusion, a peptide takes no more steps than
    it has residues, rounded up to a multiple of 8."""
    guidance_scale: NonNegativeFloat = Sampling.guidance_scale
    """Strength of the guidance towards the labels; for one label, 1 means no guidance."""
    temperature: PositiveFloat = Sampling.temperature
    """Number that divides the logits of the residues; below 1, likely residues become likelier."""
    min_length: PositiveInt | None = None
    """Length of the shortest design in residues; null takes the lengths from the training peptides
    of the label."""
    max_length: PositiveInt | None = None
    """Length of the longest design in residues; null as for `min_length`."""
    seed: int = Sampling.seed
    forbid: str = Sampling.forbid
    """Residues that must not occur in designs, such as `C,M`."""
    at_most: str = Sampling.at_most
    """Residues and their largest number in a design, such as `W=1,K=5`."""

    @pydantic.model_validator(mode="after")
    def _can_be_drawn(self) -> "Generation":
        queries: dict[tuple[str, ...], str] = {}
        for query in self.labels or []:
            parts = tuple(sorted("".join(query.split()).split("+")))
            if parts in queries:
                raise ValueError(
                    f"generation.labels: '{queries[parts]}' and '{query}' ask for the same; "
                    "remove one of them"
                )
            queries[parts] = query
        try:
            _ = self.sampling
        except UserError as error:
            raise ValueError(f"generation: {error}") from None
        return self

    @property
    def sampling(self) -> Sampling:
        """The settings of the sampler."""
        return Sampling(**self.model_dump(include={each.name for each in fields(Sampling)}))


class Evaluation(Section):
    """Evaluation: controls, thresholds and judges."""

    novelty_threshold: Fraction = 0.9
    """A design with a training neighbour at or above this similarity counts as a copy."""
    num_control: PositiveInt = 1000
    """Largest number of peptides in each control set."""
    num_folded: PositiveInt = 200
    """Largest number of peptides that are folded, for each set and for the held-out peptides."""
    esm2_weights: PathText | None = None
    """Local file of ESM-2 weights (such as `esm2_t6_8M_UR50D.pt`) for the pseudo-perplexity."""
    experimental: PathText | None = None
    """Folder of experimental structures (PDB or mmCIF); inverse folding is measured on windows of
    their chains too."""
    seed: int = 0


class Config(Section):
    """The whole configuration of one run."""

    run: RunName = "run"
    """Name of the run: results go to `results/<run>/`."""
    data: Data
    split: Split = Split()
    structures: Structures = Structures()
    model: Model = Model()
    training: Training = Training()
    diffusion: Diffusion = Diffusion()
    selection: Selection = Selection()
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _one_name_each(cls, values: Any) -> Any:
        """Replace the second names of settings by the first, and fill in a predefined split."""
        if not isinstance(values, Mapping):
            return values
        values = copy.deepcopy(dict(values))
        data, structures = (values.get(name) for name in ("data", "structures"))
        if isinstance(structures, dict) and structures.get("predictor") is None:
            structures.pop("predictor", None)
        _move(values, "data.batch_size", "training.batch_size")
        _move(values, "training.corners", "training.task_mix")
        _move(values, "model.structure_encoder.use_esmfold", "structures.predictor", _esmfold)
        if isinstance(data, dict) and data.get("train_path"):
            split = values.get("split") or {}
            if isinstance(split, dict):
                values["split"] = {"method": "predefined", **split}
        return values

    @pydantic.model_validator(mode="after")
    def _no_contradiction(self) -> "Config":
        data, split = self.data, self.split
        if split.method == "predefined":
            if data.path or not (data.train_path and data.val_path):
                raise ValueError(
                    "split.method predefined needs data.train_path and data.val_path, "
                    "and no data.path"
                )
        elif not data.path or data.train_path or data.val_path or data.test_path:
            raise ValueError(
                f"split.method {split.method} needs data.path, and none of data.train_path, "
                "data.val_path, data.test_path (those are for split.method predefined)"
            )
        if split.val_fraction + split.test_fraction >= 1:
            raise ValueError("split.val_fraction + split.test_fraction leave nothing to train on")
        if data.min_length > data.max_length:
            raise ValueError("data.min_length is greater than data.max_length")
        for name in data.property_columns:
            if name in (*data.label_sources, *typing.get_args(Descriptor), "length"):
                raise ValueError(
                    f"data.property_columns: '{name}' is the name of a label or of a descriptor; "
                    "give the measured property another name"
                )
        if len(set(data.descriptors)) < len(data.descriptors):
            raise ValueError("data.descriptors names one of them twice")
        if data.nonstandard == "reject" and data.residue_map not in ({}, Data().residue_map):
            raise ValueError(
                "data.residue_map is given, but data.nonstandard is reject, so that it is not "
                "used: set data.nonstandard to map, or remove data.residue_map"
            )
        if data.label_columns and data.label_column:
            raise ValueError("give data.label_columns or data.label_column, not both")
        predictor = self.structures.predictor
        if predictor == "files" and not self.structures.files.path:
            raise ValueError("structures.predictor files needs structures.files.path")
        for name, path in [
            ("files", self.structures.files.path),
            ("structdiff", self.structures.structdiff.model),
        ]:
            if path and predictor != name:
                key = f"structures.{name}.{'path' if name == 'files' else 'model'}"
                raise ValueError(
                    f"{key} is given, but the structures come from {predictor}, which "
                    f"does not read it: set structures.predictor to {name}, or remove {key}"
                )
        if self.structures.options and predictor in PREDICTORS.built_in:
            raise ValueError(
                f"structures.options is given, but {predictor} has settings of its own: "
                "remove it, or set structures.predictor to the predictor of another package"
            )
        lengths = self.generation
        if lengths.min_length and lengths.max_length and lengths.min_length > lengths.max_length:
            raise ValueError("generation.min_length is greater than generation.max_length")
        return self


def _move(
    values: dict[str, Any],
    alias: str,
    name: str,
    read: Callable[[Any, Any], Any] = lambda value, known: value,
) -> None:
    """Move a setting from its second name, ``alias``, to its first name, ``name``.

    ``values`` is the whole configuration; it is changed in place. ``read`` is a function of the
    value under the second name and the value under the first (or None); it returns the value of the
    setting. `ValueError` is raised if the setting has two different values.
    """
    *sections, key = alias.split(".")
    section: Any = values
    for part in sections:
        section = section.get(part) if isinstance(section, dict) else None
    value = section.pop(key, None) if isinstance(section, dict) else None
    if value is None:
        return
    target_name, key = name.split(".")
    target = values.setdefault(target_name, {})
    if not isinstance(target, dict):
        return  # that mistake is reported where the section is checked
    known = target.get(key)
    target[key] = read(value, known)
    if known is not None and str(target[key]) != str(known):
        as_yaml = str(value).lower() if isinstance(value, bool) else value
        raise ValueError(
            f"{alias} is {as_yaml} but {name} is {known}: they are one setting, remove one of them"
        )


def _esmfold(use: Any, predictor: str | None) -> str:
    """Return the value of `structures.predictor` that the second name ``use_esmfold`` stands for.

    ``use`` is the value of ``use_esmfold``; ``predictor`` is the value under the first name, or
    None.
    """
    try:
        use = pydantic.TypeAdapter(bool).validate_python(use)
    except pydantic.ValidationError:
        raise ValueError(
            f"key 'model.structure_encoder.use_esmfold': must be true or false (got {use!r})"
        ) from None
    other = "ideal" if predictor in (None, "esmfold") else predictor
    return "esmfold" if use else str(other)


def results_dir(config: Config) -> Path:
    """Return the folder of a run's results."""
    return Path("results") / config.run


def load(path: str | os.PathLike) -> Config:
    """Read a YAML configuration.

    Raises
    ------
    UserError
        If the file cannot be read (see `read_yaml`) or has mistakes (see `parse`).
    """
    return parse(read_yaml(Path(path)), source=str(path))


_WIDE_BLANK = re.compile(r"^\s*[^\S\x20\n\r\t\x85]", re.M)
_ODD_INTEGER = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+:[0-9_:]+)")


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, with errors for text that YAML would silently misread.

    Such text is a repeated key of a mapping, or a whole number in base 8 or 60.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return the whole number of a node; reject 010 and 1:30, which YAML reads as 8 and 90."""
        number = super().construct_yaml_int(node)
        if _ODD_INTEGER.fullmatch(node.value) and node.value.strip("-+0_"):
            raise UserError(
                f"line {node.start_mark.line + 1}: YAML reads {node.value} as {number}; write the "
                "number without leading zeros and colons, or text in quotation marks"
            )
        return number

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return the mapping of a node; reject repeated keys."""
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in lines:
                raise UserError(
                    f"the key '{key}' stands twice, in lines {lines[key]} and {line}, and only "
                    "one could count; put what belongs to it under one"
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file, before it is checked against the schema.

    Raises
    ------
    UserError
        If the file is missing, is not text or not a YAML mapping, has a key twice or a number in
        base 8 or 60, or has a line that begins with a character that only looks like a space.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text: {error}; save it as UTF-8") from None
    if match := _WIDE_BLANK.search(text):
        raise UserError(
            f"{path}, line {text.count(chr(10), 0, match.end()) + 1}: begins with "
            f"U+{ord(match[0][-1]):04X}, which only looks like a space; indent with spaces"
        )
    try:
        mapping = yaml.load(text, _StrictLoader)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        hint = "; indent with spaces, not with tabs" if "'\\t'" in str(error) else ""
        raise UserError(f"{path}: is not valid YAML: {error}{hint}") from None
    if not isinstance(mapping, dict):
        raise UserError(f"{path}: must hold `key: value` lines, as config/config.yaml does")
    return mapping


def parse(mapping: Mapping[str, Any], source: str = "the configuration") -> Config:
    """Validate a mapping and return it as a `Config`.

    Raises
    ------
    UserError
        If the mapping has mistakes. The message has one line for each, with the key and ``source``,
        the name of the file.
    """
    try:
        return Config.model_validate(_null_words(mapping))
    except pydantic.ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise UserError("\n".join(f"{source}: {line}" for line in lines)) from None


def dump(config: Config) -> str:
    """Return the configuration with all defaults, as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _null_words(value: Any) -> Any:
    """Return a value with None for each text 'null', also inside mappings.

    Values from Snakemake's command line are texts, so that null arrives as 'null'.
    """
    if isinstance(value, Mapping):
        return {key: _null_words(item) for key, item in value.items()}
    return None if value == "null" else value


def _explain(item: Any) -> str:
    """Return the message for an error of pydantic: the key and what to do."""
    location = [str(part) for part in item["loc"] if not str(part).startswith(("as ", "[key]"))]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        names = _keys_of(location[:-1])
        near = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.5)
        near_key = ".".join([*location[:-1], *near])
        hint = f"did you mean '{near_key}'?" if near else f"valid keys: {', '.join(names)}"
        return f"unknown key '{key}'; {hint}"
    if item["type"] == "missing":
        return f"key '{key}' is missing"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    message = IN_WORDS.get(item.get("ctx", {}).get("pattern"), item["msg"])
    message = message[0].lower() + message[1:]
    value, hint = item["input"], ""
    if item["type"] == "model_type":
        message = "should be a section of `key: value` lines"
        hint = "; remove it if it is empty" if value is None and key != "data" else ""
    if item["type"] == "string_type" and value is not None and not isinstance(value, (list, dict)):
        hint = "; YAML reads it as another type than text: put it in quotation marks"
    return f"key '{key}': {message} (got {value!r}{hint})"


def _keys_of(location: list[str]) -> list[str]:
    """Return the valid keys of the section at ``location``."""
    section: type[pydantic.BaseModel] = Config
    names = iter(location)
    for name in names:
        annotation: Any = section.model_fields[name].annotation
        if typing.get_origin(annotation) is dict:  # the next name is a key of the mapping
            next(names)
            annotation = typing.get_args(annotation)[1]
        assert isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)
        section = annotation
    return list(section.model_fields)
