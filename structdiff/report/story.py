"""The story of a run on one page: data, structures, training, designs, verdict, conclusions.

``tell(results)`` reads the results of the stages and returns a self-contained page.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import yaml

from structdiff.peptides import SPLITS
from structdiff.report.gallery import Card, candidate_set, find_structures, gallery
from structdiff.report.page import SORT, page
from structdiff.report.tables import table
from structdiff.report.verdicts import figure, judged, verdict_line
from structdiff.report.viewer import Backbone
from structdiff.system.files import read_tsv

__all__ = ["tell"]

LISTED = 100
"""Largest number of candidates of each set in the table; the page ``candidates`` has more."""

CHAPTERS = {
    "data": "Data",
    "structures": "Structures",
    "training": "Training",
    "designs": "Designs",
    "verdict": "Verdict",
}


class Run:
    """The results of a run's stages that the story shows.

    Attributes
    ----------
    results
        Folder of the run.
    config
        All settings.
    counts
        ``peptides/summary.tsv``: the number of rows or peptides, by group and name.
    labels
        Rows of ``peptides/labels.tsv``: numbers of peptides for each label and split.
    warnings
        Rows of ``peptides/warnings.tsv``: labels and properties that are hard to learn.
    structures
        Values of ``structures/summary.tsv`` by name.
    training
        ``training/summary.json``: sizes, losses and the starting model of the training.
    chosen
        The row of ``selection/selection.tsv`` of the checkpoint that became the model.
    generated
        Rows of ``generation/summary.tsv``: number of designs and note of each set.
    sets
        ``evaluation/metrics.json``: verdict, findings and metrics of each set of designs.
    candidates
        Rows of ``evaluation/candidates.tsv``, best first within each set.
    """

    def __init__(self, results: Path):
        self.results = results
        self.config: dict[str, Any] = yaml.safe_load(self._text("config.yaml"))
        self.counts = {
            (row["group"], row["name"]): int(row["count"])
            for row in read_tsv(results / "peptides/summary.tsv")
        }
        self.labels = read_tsv(results / "peptides/labels.tsv")
        self.warnings = read_tsv(results / "peptides/warnings.tsv")
        summary = read_tsv(results / "structures/summary.tsv")
        self.structures = {row["what"]: row["value"] for row in summary}
        self.training: dict[str, Any] = json.loads(self._text("training/summary.json"))
        selection = read_tsv(results / "selection/selection.tsv")
        self.chosen = next(row for row in selection if row["chosen"] == "yes")
        self.generated = read_tsv(results / "generation/summary.tsv")
        self.sets: dict[str, dict[str, Any]] = json.loads(self._text("evaluation/metrics.json"))
        self.candidates = read_tsv(results / "evaluation/candidates.tsv")

    def _text(self, file: str) -> str:
        return (self.results / file).read_text(encoding="utf-8")


def tell(results: Path) -> str:
    """Return the story of a run as a complete HTML page.

    Parameters
    ----------
    results
        Folder of a run, ``results/<run>``, with every stage done.
    """
    run = Run(results)
    chapters = (_data(run), _structures(run), _training(run), _designs(run), _verdict(run))
    body = "".join(
        f'<section id="{key}"><h2>{number}. {title}</h2>{content}</section>\n'
        for number, ((key, title), content) in enumerate(
            zip(CHAPTERS.items(), chapters, strict=True), start=1
        )
    )
    return page(f"StructDiff: {run.config['run']}", f"{_opening(run)}{body}<script>{SORT}</script>")


def _opening(run: Run) -> str:
    """Return the title, the verdict in one sentence, and links to the chapters."""
    verdicts = verdict_line(run.sets)
    links = " ".join(
        f'<a href="#{key}" onclick="document.getElementById(\'{key}\').scrollIntoView();'
        f'return false">{title}</a>'
        for key, title in CHAPTERS.items()
    )
    kept, designs = run.counts["peptides", "used"], len(run.candidates)
    return (
        f"<h1>Run {escape(run.config['run'])}</h1>\n"
        f'<p class="lead">From {kept:,} peptides to {designs:,} distinct designs. '
        f"Verdict on the designs: {verdicts}.</p>\n<nav>{links}</nav>\n"
    )


def _data(run: Run) -> str:
    count = run.counts
    read, refused = count["rows", "read"], count["rows", "rejected"]
    split = {name: count.get(("split", name), 0) for name in SPLITS}
    facts = {"rows read": read, "refused": refused, "used": count["peptides", "used"]}
    facts |= {f"to {verb}": split[name] for verb, name in _SPLITS.items()}
    used = count["peptides", "used"]
    shares = ", ".join(
        f"{escape(row['label'])} {int(row['present']):,} ({_percent(int(row['present']) / used)}; "
        f"absent {int(row['absent']):,}, unknown {int(row['unknown']):,})"
        for row in run.labels
        if row["split"] == "all"
    )
    conclusion = (
        f"{_percent(refused / read)} of the rows were refused; the page “What was refused, and "
        "why” names each with its reason."
        if refused
        else "Every row was used."
    )
    warnings = "".join(
        f"<p>Warning about <b>{escape(row['label'])}</b>: {escape(row['warning'])}.</p>"
        for row in run.warnings
    )
    return (
        _facts(facts)
        + f"<p>{conclusion} {f'Labels: {shares}.' if shares else 'The peptides have no labels.'}"
        + f"</p>{warnings}"
        + figure(run.results / "peptides/leakage.png", "nearest training neighbours", _leakage(run))
    )


_SPLITS = {"train on": "train", "validate on": "val", "test on": "test"}


def _leakage(run: Run) -> str:
    """Return the caption of the figure on how similar held-out and training peptides are."""
    method, threshold = run.config["split"]["method"], run.config["split"]["threshold"]
    what = "Similarity of each held-out peptide to its nearest training peptide (1 = identical). "
    if method == "cluster":
        return what + (
            f"The split keeps peptides with a similarity of {threshold:g} or more on one side, so "
            "that nothing may stand right of that line: what is measured on held-out peptides says "
            "something about new ones."
        )
    return what + (
        "This split was not made by clusters: peptides to the right are look-alikes of training "
        "peptides, and losses measured on them flatter the model."
    )


def _structures(run: Run) -> str:
    summary = run.structures
    without = next(n for what, n in summary.items() if what.startswith("without structure"))
    note = summary.get("note", "")
    facts: dict[str, int | str] = {
        "predictor": summary["predictor"],
        "with a structure": int(summary["with structure"]),
        "without": int(without),
    }
    confidence = summary.get("mean pLDDT of a peptide, mean")
    if confidence:
        facts["mean pLDDT"] = confidence
    if summary["predictor"] == "ideal":
        conclusion = (
            "These backbones come from the sequence alone. They teach the model what a chain looks "
            "like, and nothing about how a peptide folds: for that, use ESMFold or structures of "
            "your own."
        )
    elif not run.config["data"]["use_predicted_structures"]:
        conclusion = (
            "The model was not trained on them (data.use_predicted_structures is false): it has "
            "learnt sequences alone."
        )
    else:
        conclusion = "Peptides without a structure train the sequence alone."
        if confidence:
            conclusion = (
                "The model learns the more from a residue the more confident its structure is "
                f"(pLDDT weighs the loss). {conclusion}"
            )
    note = f"{escape(note[:1].upper() + note[1:])}. " if note else ""
    return f"{_facts(facts)}<p>{note}{conclusion}</p>"


def _training(run: Run) -> str:
    training = run.training
    best, last = training["best"], training["last"]
    start = _start(run)
    facts = {
        "parameters": training["parameters"],
        "epochs": training["epochs"],
        "steps": training["steps"],
        "effective batch": training["effective_batch"],
    }
    if not best:
        conclusion = "No validation took place, so the last weights were released."
        return f"{_facts(facts)}{start}<p>{conclusion}</p>"
    validated = last.get("validation") or {}
    rise = validated.get("total", best["total"]) - best["total"]
    if best["epoch"] == 0:
        conclusion = "That is the starting model: no epoch was better."
    elif training["epochs"] <= run.config["training"]["validate_every"] and not start:
        conclusion = "It is the only validation of this training."
    elif best["epoch"] == last["epoch"]:
        conclusion = "It was still falling at the end: more epochs would probably pay."
    elif rise > 0.01 * abs(best["total"]):
        conclusion = (
            f"By epoch {last['epoch']} it had risen to {validated['total']:.3f}: from there on the "
            "model memorises. Fewer epochs would do; more data, or a smaller model, would help."
        )
    else:
        conclusion = "It had settled by the end: more epochs would change little."
    return (
        f"{_facts(facts)}{start}<p>The lowest validation loss, {best['total']:.3f}, was reached in "
        f"epoch {best['epoch']}. {conclusion}{_chosen(run)}</p>"
        + figure(
            run.results / "figures/losses.png",
            "losses",
            "Losses per residue: training as lines, validation on fixed noise as points. Both "
            "should fall and flatten together; training falling while validation rises is "
            "memorising.",
        )
    )


def _chosen(run: Run) -> str:
    """Return a sentence with the model's epoch if another epoch has a lower loss, else ''."""
    chosen = run.chosen
    if chosen["epoch"] == str(run.training["best"]["epoch"]):
        return ""
    return (
        f" The model is not of that epoch, but of epoch {chosen['epoch']} "
        f"({escape(chosen['candidate'])}); the page “Choice of the checkpoint” says why."
    )


def _start(run: Run) -> str:
    """Return the paragraph about the model that the training started from; '' if there is none."""
    init = run.training.get("init")
    if init is None:
        return ""
    known = run.counts.get(("peptides", "seen by the starting model"))
    seen = (
        "It has no record of the peptides that it was trained on, so that some of the held-out "
        "peptides may be among them, and copies of them among the designs are not counted."
        if known is None
        else f"It has seen {known:,} of the peptides; those are trained on again, and designs that "
        "it has seen count as copies."
    )
    return (
        f"<p>The training started from the model <code>{escape(init['from'])}</code> (SHA-256 "
        f"<code>{init['sha256'][:16]}</code>). {seen}</p>"
    )


def _designs(run: Run) -> str:
    content = [
        "<p>Candidates stand in the order in which one would make them: first those that meet more "
        "of the criteria (novel; length, charge, hydrophobicity and hydrophobic moment as real "
        "peptides of the label have them; varied; sound backbone), among equals those nearest to "
        "the middle of the real ones. <b>The order proves no activity.</b></p>",
        *(
            f"<p><b>{escape(row['label'])}</b> was not designed: {escape(row['note'])}.</p>"
            for row in run.generated
            if int(row["designs"]) == 0
        ),
    ]
    sets = [
        candidate_set(name, result["verdict"], run.candidates) for name, result in run.sets.items()
    ]
    content.append(gallery(sets, _backbones(run, [card for part in sets for card in part.cards])))
    columns = [
        name
        for name in ("set", "rank", "id", "sequence", "met", "similarity", "charge", "moment")
        if not run.candidates or name in run.candidates[0]
    ]
    of_set = {name: [row for row in run.candidates if row["set"] == name] for name in run.sets}
    rows = [[row[c] for c in columns] for listed in of_set.values() for row in listed[:LISTED]]
    content.append(
        f"<h3>The first {LISTED} candidates of each set</h3>"
        '<p class="note">A click on a column’s head sorts by it. met: criteria met; similarity: to '
        f'the nearest training peptide.</p><div class="tall">{table(columns, rows)}</div>'
    )
    return "".join(content)


def _backbones(run: Run, cards: list[Card]) -> dict[str, Backbone]:
    """Return the designed backbones of the cards, by id, each with the model's fold, if any."""
    backbones = find_structures(run.results, cards)
    model = run.results / "selection" / "model.safetensors"
    if not backbones or not model.is_file():
        return backbones
    from structdiff.generation.folding import fold
    from structdiff.pretrained import load_model
    from structdiff.protein.io import format_pdb
    from structdiff.protein.structure import from_backbone

    names = list(backbones)
    for folded in fold(load_model(model), [backbones[name].sequence for name in names]):
        structure = from_backbone(folded.sequence, folded.backbone, 100 * folded.confidence)
        name = names[folded.number]
        backbones[name] = replace(backbones[name], fold=format_pdb(structure))
    return backbones


def _verdict(run: Run) -> str:
    figures = {
        "composition": "Amino acids of the designs (bars) and of real peptides (marks). Bars "
        "should reach the marks; one bar far above its mark is a collapsed model.",
        "neighbours": "Similarity to the nearest training peptide. Designs should lie where the "
        "held-out real peptides lie; those right of the red line are copies.",
        "properties": "Charge, hydrophobicity, moment and aliphatic index. Only the moment shows "
        "whether the faces of helices were learnt: shuffled designs share all else.",
        "ramachandran": "Backbone angles. The same islands in the same places mean sound "
        "backbones.",
    }
    drawn = "".join(
        figure(run.results / f"evaluation/{name}.png", name, caption)
        for name, caption in figures.items()
    )
    return "".join(judged(name, result) for name, result in run.sets.items()) + drawn


def _facts(facts: Mapping[str, int | str]) -> str:
    items = "".join(
        f"<li><b>{f'{value:,}' if isinstance(value, int) else escape(value)}</b>{escape(name)}</li>"
        for name, value in facts.items()
    )
    return f'<ul class="facts">{items}</ul>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
