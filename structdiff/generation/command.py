"""``structdiff design``: the tasks of a trained model, from the command line to files.

Each function is a task: `design_free`, `fill_template`, `vary_peptide`, `design_for_backbones`,
`fold_peptides`, `scan_peptides`. All except `scan_peptides` write the files of
`structdiff.generation.output`; `scan_peptides` and `vary_peptide` write the files of
`structdiff.generation.scan`. The journal of the designs stays in the folder until
`structdiff.generation.output.remove_journal` is called.

Each function raises `UserError` if an argument or a file cannot be read, or the model cannot fulfil
the request. All except `scan_peptides` also raise it if the folder has finished designs, or
unfinished designs of another request.
"""

import os
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from structdiff.generation.folding import Fold, fold
from structdiff.generation.output import DesignSet, Drawn, numbered, write_designs
from structdiff.generation.request import (
    OPEN,
    check_labels_only,
    check_length,
    check_template,
    draw_lengths,
    length_range,
    mutation_range,
    positions,
    read_query,
)
from structdiff.generation.scan import Scan, check_scan_folder, scan, write_scans
from structdiff.generation.scoring import log_likelihoods, perplexity, recovery, score
from structdiff.generation.stage import free_designs, identify, missing_set
from structdiff.generation.tasks import Design, infill, inverse_fold
from structdiff.generation.variants import Analogue, distinct_analogues, strength_of
from structdiff.peptides.sequences import bare_sequence, read_sequences, standard_sequence
from structdiff.pretrained import TrainedModel, load_model
from structdiff.protein.chains import Chain
from structdiff.protein.ends import FREE, Ends, split_ends
from structdiff.protein.io import fits_pdb, read_structures
from structdiff.settings import Sampling
from structdiff.system.errors import UserError, counted, warn
from structdiff.system.files import harmless
from structdiff.system.gpus import choose_device, lease
from structdiff.system.naming import file_name, file_names

__all__ = [
    "design_for_backbones",
    "design_free",
    "fill_template",
    "fold_peptides",
    "scan_peptides",
    "vary_peptide",
]


def design_free(
    model: Path,
    output_dir: Path,
    sampling: Sampling,
    *,
    label: str,
    number: int,
    length: str | None,
    sequence_only: bool,
) -> None:
    """Design peptides for a label query.

    Parameters
    ----------
    model
        ``model.safetensors``.
    output_dir
        Folder of the designs.
    sampling
        Settings of the sampler.
    label
        A label query: ``antimicrobial``, ``antimicrobial+antiviral``, ``none``.
    number
        Number of designs.
    length
        Length in residues, ``18`` or ``10-25``; None draws from the lengths of the training
        peptides with the labels.
    sequence_only
        Whether to draw sequences without backbones.

    Raises
    ------
    UserError
        If the request cannot be read, the model cannot fulfil it, or the folder has finished
        designs, or unfinished ones of another request.
    """
    bounds = None if length is None else length_range(length)

    def sets(trained_model: TrainedModel) -> list[DesignSet]:
        lengths = draw_lengths(trained_model, label, number, sampling.seed, bounds)
        return [
            free_designs(
                trained_model,
                file_name(label),
                label,
                lengths,
                sampling,
                sequence_only=sequence_only,
            )
        ]

    values = {"label": label, "number": number, "length": length, "sequence_only": sequence_only}
    _run("free", model, output_dir, sampling, values, sets)


def fill_template(
    model: Path,
    output_dir: Path,
    sampling: Sampling,
    *,
    template: str,
    label: str,
    number: int,
    sequence_only: bool,
) -> None:
    """Design the residues at the ``?`` of a template such as ``GIGK????FLHS``.

    Parameters
    ----------
    model, output_dir, sampling, label, number
        Model file, folder, sampler settings, label query and number of designs (see `design_free`).
    template
        Residues that stay, in one-letter codes, and ``?`` for each residue to design; its ends may
        be marked as acetylated or amidated (``Ac-GIGK????-NH2``).
    sequence_only
        Whether to draw sequences without backbones.
    """
    core, ends = split_ends(template)
    template = bare_sequence(core)
    check_template(template)

    def sets(trained_model: TrainedModel) -> list[DesignSet]:
        check_length(trained_model, len(template))

        def draw(skip: Collection[int]) -> Iterator[Design]:
            return infill(
                trained_model,
                template,
                number,
                label,
                sampling,
                sequence_only=sequence_only,
                skip=skip,
            )

        ids, query = numbered("infilled", number), read_query(label, trained_model.conditions)
        every_end = _for_each(ends, number)
        return [DesignSet("infilled", ids, draw, label, query, template, ends=every_end)]

    values: dict[str, Any] = {
        "template": template,
        "label": label,
        "number": number,
        "sequence_only": sequence_only,
    }
    if ends != FREE:
        values["ends"] = ends.header
    _run("infill", model, output_dir, sampling, values, sets)


def vary_peptide(
    model: Path,
    output_dir: Path,
    sampling: Sampling,
    *,
    sequence: str,
    strength: float | None,
    mutations: str | None,
    label: str,
    number: int,
    keep: str | None,
) -> None:
    """Design analogues of a peptide, and write a mutational scan of the peptide.

    Parameters
    ----------
    model, output_dir, sampling, label, number
        Model file, folder, sampler settings, label query and number of designs (see `design_free`).
    sequence
        The given peptide; its ends may be marked as acetylated or amidated (``Ac-KLLK-NH2``).
    strength
        Share of the residues that are drawn again, above 0 and at most 1 (a free design). None
        derives it from ``mutations`` (see `strength_of`).
    mutations
        Number of residues that differ from the peptide: ``2`` or ``1..4``; None for any number.
    keep
        Positions of the residues that stay: ``1-4,9``; None lets all of them change.
    """
    core, ends = split_ends(sequence)
    origin = standard_sequence(core)
    kept = None if keep is None else positions(keep, len(origin))
    changes = None if mutations is None else mutation_range(mutations)
    noise = strength_of(strength, changes, len(origin), kept)
    scans: dict[str, Scan] = {}

    def sets(trained_model: TrainedModel) -> list[DesignSet]:
        check_length(trained_model, len(origin))
        scans["analogue"] = scan(trained_model, origin, label)

        def draw(drawn: Mapping[int, Drawn]) -> Iterator[Analogue]:
            # An analogue depends on all analogues before it: after a gap, all are drawn again.
            before = [drawn[n] for n in takewhile(drawn.__contains__, range(number))]
            return distinct_analogues(
                trained_model,
                origin,
                noise,
                number,
                label,
                sampling,
                mutations=changes,
                keep=kept,
                drawn={d.candidate: d.sequence for d in before if d.candidate is not None},
            )

        ids, query = numbered("analogue", number), read_query(label, trained_model.conditions)
        every_end = _for_each(ends, number)
        return [DesignSet("analogue", ids, draw, label, query, origin=origin, ends=every_end)]

    values: dict[str, Any] = {
        "origin": origin,
        "strength": noise,
        "mutations": changes,
        "label": label,
        "number": number,
        "keep": keep,
    }
    if ends != FREE:
        values["ends"] = ends.header
    others = ["scan.tsv", "analogue_scan.svg", "analogue_scan.png", "index.html"]
    _run("analogues", model, output_dir, sampling, values, sets, others)
    write_scans(scans, output_dir)


def _for_each(ends: Ends, number: int) -> list[Ends]:
    """Return the same ``ends`` for each of ``number`` designs, for `DesignSet.ends`.

    If ``ends`` are free, the list is empty: the label query then determines the ends.
    """
    return [ends] * number if ends != FREE else []


def design_for_backbones(
    model: Path,
    output_dir: Path,
    sampling: Sampling,
    *,
    path: Path,
    chain: str | None,
    label: str,
    number: int,
    keep: str | None,
) -> None:
    """Design sequences for the backbones of a structure file (inverse folding).

    Parameters
    ----------
    model, output_dir, sampling, label
        Model file, folder, sampler settings and label query (see `design_free`).
    number
        Number of designs for each backbone.
    path
        PDB or mmCIF file.
    chain
        Name of the chain to use; None for all chains.
    keep
        Positions at which the designs keep the residue of the file: ``1-4,9``, counted along the
        chain from 1; None for none.
    """
    chains = [_within_reach(item, path) for item in _read_chains(path, chain)]
    stem = file_name(path.name.split(".")[0])

    def sets(trained_model: TrainedModel) -> list[DesignSet]:
        sets, query = [], read_query(label, trained_model.conditions)
        for index, item in enumerate(chains, start=1):
            name = f"{stem}_{index}" if len(chains) > 1 else stem
            try:
                designs = _for_backbone(trained_model, item, name, sampling, label, number, keep)
                note = f"chain {item.name}" if len(chains) > 1 else ""
                sets.append(replace(designs, query=query, note=note))
            except UserError as error:
                reason = f"{path.name}, chain {item.name}: {error}"
                sets.append(missing_set(name, label, reason))
        return sets

    values = {
        "file": path.name,
        "sequences": [item.structure.sequence for item in chains],
        "backbones": [zlib.crc32(item.structure.backbone.tobytes()) for item in chains],
        "chain": chain,
        "label": label,
        "number": number,
        "keep": keep,
    }
    _run("inverse-fold", model, output_dir, sampling, values, sets)


def _for_backbone(
    model: TrainedModel,
    chain: Chain,
    name: str,
    sampling: Sampling,
    label: str,
    number: int,
    keep: str | None,
) -> DesignSet:
    """Return the request for ``number`` designs with the backbone of one chain.

    ``name`` is the name of the set. The function prints how well the model predicts the file's own
    sequence with and without the backbone (recovery and perplexity). It prints a warning if the
    backbone makes this sequence less likely. If ``keep`` is given and the file does not number its
    residues from 1, the function prints which residues of the file stay.
    """
    structure = chain.structure
    check_length(model, len(structure.sequence))
    template = None
    if keep is not None:
        kept = positions(keep, len(structure.sequence))
        if kept.all():
            raise UserError(f"--keep {keep}: keeps all residues of {name}, so that nothing is left")
        template = "".join(np.where(kept, list(structure.sequence), OPEN))
        if [residue.split()[1] for residue in chain.residues] != [
            str(number) for number in range(1, len(kept) + 1)
        ]:
            print(f"{name}: --keep {keep} keeps {_ranges(chain.residues, kept)} of the file")
    with_backbone = list(score(model, [structure.sequence], [structure.backbone]))
    without = list(score(model, [structure.sequence]))
    print(
        f"{name}: the file's own sequence {structure.sequence}: recovery "
        f"{recovery(with_backbone):.2f}, perplexity {perplexity(with_backbone):.1f} from the "
        f"backbone ({recovery(without):.2f} and {perplexity(without):.1f} from the length alone)",
        flush=True,
    )
    if len(set(structure.sequence)) == 1:
        print(f"{name}: one residue throughout, so how well the model reads it is unknown")
    elif perplexity(with_backbone) > perplexity(without):
        message = (
            f"warning: {name}: the backbone is unlike those that the model was trained on: it "
            "makes the file's own sequence less likely, so the designs are of little use; check "
            "its geometry, or train on such backbones"
        )
        print(f"structdiff: {message}", file=sys.stderr, flush=True)

    def draw(skip: Collection[int]) -> Iterator[Design]:
        return inverse_fold(
            model, structure.backbone, number, label, sampling, template=template, skip=skip
        )

    ids = numbered(name, number)
    return DesignSet(name, ids, draw, label, template=template or "", origin=structure.sequence)


def _ranges(residues: Sequence[str], kept: np.ndarray) -> str:
    """Return the chosen residues as text, such as ``GLN 9 … LYS 12, TRP 14``.

    ``residues`` are the names of all residues, ``kept`` says which are chosen, ``(length,)`` bool.
    """
    edges = np.flatnonzero(np.diff(kept.astype(int), prepend=0, append=0)).reshape(-1, 2)
    pairs = [(residues[start], residues[stop - 1]) for start, stop in edges.tolist()]
    return ", ".join(first if first == last else f"{first} … {last}" for first, last in pairs)


def fold_peptides(model: Path, output_dir: Path, *, peptides: str) -> None:
    """Predict the backbone of a sequence, or of each sequence of a FASTA file or a table.

    Parameters
    ----------
    model, output_dir
        Model file, and folder of the results.
    peptides
        A sequence, or the path of a file of sequences.
    """
    ids, sequences, ends = _read_sequences(peptides, "fold")

    def sets(trained_model: TrainedModel) -> list[DesignSet]:
        for length in {len(sequence) for sequence in sequences}:
            check_length(trained_model, length)

        def draw(skip: Collection[int]) -> Iterator[Fold]:
            return fold(trained_model, sequences, skip=skip)

        return [DesignSet("folded", ids, draw, ends=ends)]

    values: dict[str, Any] = {"ids": ids, "sequences": sequences}
    if any(end != FREE for end in ends):
        values["ends"] = [end.header for end in ends]
    _run("fold", model, output_dir, None, values, sets)


def scan_peptides(model: Path, output_dir: Path, *, peptides: str, label: str) -> None:
    """Score each single substitution of a peptide, or of each peptide of a file.

    ``scan.tsv`` has the log-odds and the probability of each substitution. A heat map is written
    for each peptide.

    Parameters
    ----------
    model, output_dir
        Model file, and folder of the results.
    peptides
        A sequence, or the path of a file of sequences.
    label
        A query of labels only, without properties and lengths; ``none`` sets no condition.
    """
    ids, sequences, _ = _read_sequences(peptides, "scan")
    check_scan_folder(output_dir, ids)
    with lease(1):
        trained_model = load_model(model, choose_device())
        for length in {len(sequence) for sequence in sequences}:
            check_length(trained_model, length)
        check_labels_only(label, trained_model.conditions)
        scans = {
            name: scan(trained_model, sequence, label)
            for name, sequence in zip(ids, sequences, strict=True)
        }
    write_scans(scans, output_dir)
    print(f"{counted(len(scans), 'scan')} in {output_dir}", flush=True)


def _run(
    task: str,
    model: Path,
    output_dir: Path,
    sampling: Sampling | None,
    values: dict[str, Any],
    sets: Callable[[TrainedModel], Sequence[DesignSet]],
    other_files: Sequence[str] = (),
) -> None:
    """Load the model on a leased GPU (or the CPU), and draw and write the sets of designs.

    ``sets`` returns the sets for the loaded model. ``values`` are the settings of the task; with
    the model and ``sampling`` they determine the designs. ``sampling`` is None for folding.
    ``other_files`` are names of files that the task writes later.
    """
    with lease(1):
        trained_model = load_model(model, choose_device())
        settings = identify(trained_model, sampling, {"task": task, **values})
        write_designs(
            sets(trained_model),
            settings,
            output_dir,
            description=f"design ({task})",
            log_likelihoods=partial(log_likelihoods, trained_model),
            seen=trained_model.seen,
            other_files=other_files,
        )


def _read_chains(path: Path, chain: str | None) -> list[Chain]:
    """Return the usable chains of a structure file: all, or those with the name ``chain``.

    The function prints which parts of the file are left out, and why. If it returns several chains,
    it prints their names and lengths, and which of them have the same sequence.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name one of its PDB or mmCIF files")
    if not path.is_file():
        raise UserError(f"{path}: no such file; inverse folding takes a PDB or mmCIF file")
    try:
        contents = read_structures(path)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    chains, ignored = contents.chains, contents.ignored
    if chain is not None:
        chains = [item for item in chains if item.name == chain]
        if not chains:
            reasons = [reason for reason in ignored if reason.startswith(f"chain '{chain}'")]
            reason = reasons[0] if reasons else f"has no chain '{chain}'"
            usable = _sizes(contents.chains)
            raise UserError(f"{path}: {reason}; its usable chains: {usable}")
        ignored = [reason for reason in ignored if not reason.startswith("chain '")]
    messages = [f"warning: {path}: left out: {reason}" for reason in ignored]
    if len(chains) > 1:
        messages.append(f"{path}: chains {_sizes(chains)}; --chain NAME takes one of them")
        names: dict[str, list[str]] = {}
        for item in chains:
            names.setdefault(item.structure.sequence, []).append(item.name)
        messages += [
            f"{path}: the chains {', '.join(same)} have the same sequence, so that their designs "
            f"may be the same; --chain {same[0]} takes one of them"
            for same in names.values()
            if len(same) > 1
        ]
    for message in messages:
        print(f"structdiff: {message}", file=sys.stderr, flush=True)
    return chains


def _sizes(chains: Sequence[Chain]) -> str:
    """Return the names and lengths of chains, as text for messages."""
    return ", ".join(
        f"{item.name} ({counted(len(item.structure.sequence), 'residue')})" for item in chains
    )


def _within_reach(item: Chain, path: Path) -> Chain:
    """Return a chain with coordinates that fit into the PDB files of its designs.

    If the coordinates of the chain do not fit, the chain is moved to the origin, and a warning with
    ``path``, the file of the chain, is printed.
    """
    positions = item.structure.positions
    if fits_pdb(positions):
        return item
    warn(
        f"{path}, chain {item.name}: its coordinates are beyond −990 to 9,990 "
        "Å, which PDB files cannot hold: its backbone is moved to the origin"
    )
    centred = positions - np.nanmean(positions.astype(np.float64), axis=0)
    return replace(item, structure=replace(item.structure, positions=centred))


def _read_sequences(text: str, task: str) -> tuple[list[str], list[str], list[Ends]]:
    """Return the ids, sequences and ends of the peptides to fold or to scan.

    ``text`` is a sequence or the path of a file of sequences; ``task`` is "fold" or "scan". A text
    in lower case is not read as a sequence, because it may be a mistyped file name.
    """
    if not text.strip():
        raise UserError(f"design {task}: the text is empty; give a sequence, or the path of a file")
    path = Path(text)
    exists = os.path.exists(text)  # noqa: PTH110, as Path.exists fails for a long sequence
    if not ("/" in text or path.suffix or exists):
        if text.islower():
            raise UserError(
                f"design {task}: '{harmless(text[:60])}' is neither a file nor a sequence in upper "
                "case; check the path, or write the sequence in upper case"
            )
        sequence, ends = split_ends(text)
        return ["folded" if task == "fold" else task], [standard_sequence(sequence)], [ends]
    ids, sequences, every_end = read_sequences(path, task)
    names = file_names(ids)
    return [names[name] for name in ids], sequences, every_end
