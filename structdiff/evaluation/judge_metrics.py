"""Metrics of a set of peptides by judges that the model was not trained against."""

import numpy as np

from structdiff.evaluation.metric import Metric
from structdiff.evaluation.model_tasks import compare
from structdiff.evaluation.peptide_set import PeptideSet, function_of
from structdiff.evaluation.value import Unavailable, Value
from structdiff.generation.batching import shuffled
from structdiff.peptides.query import parse_query
from structdiff.protein.structure import Structure

__all__ = ["METRICS"]

ESM2_PEPTIDES = 200
"""Largest number of peptides of a set that ESM-2 scores; it runs once for each residue."""

Refolded = list[tuple[Structure, np.ndarray | None]]


def _called(peptides: PeptideSet) -> Value:
    described = peptides.features.descriptors(peptides.sequences)
    query = parse_query(peptides.entry, peptides.judges.labels.trees)
    called = peptides.judges.labels.called(
        peptides.sequences, described, query.labels, query.unwanted
    )
    return called if isinstance(called, Unavailable) else float(called.mean())


def _macrel(peptides: PeptideSet) -> Value:
    judge = peptides.judges.macrel
    if isinstance(judge, Unavailable):
        return judge
    return float((judge.scores(peptides.sequences) > 0.5).mean())


def _macrel_uplift(peptides: PeptideSet) -> Value:
    judge, share = peptides.judges.macrel, peptides.once(_macrel)
    if isinstance(judge, Unavailable) or isinstance(share, Unavailable):
        return share
    return share - float((judge.scores(shuffled(peptides.sequences)) > 0.5).mean())


def _draw(peptides: PeptideSet, judge: str, most: int) -> np.ndarray:
    """Return the sorted indices of at most ``most`` peptides, drawn at random for a judge."""
    return np.sort(peptides.generator(judge).permutation(len(peptides.sequences))[:most])


def _pseudo_perplexity(peptides: PeptideSet) -> Value:
    judge = peptides.judges.esm2
    if isinstance(judge, Unavailable):
        return judge
    rows = _draw(peptides, "ESM-2", ESM2_PEPTIDES)
    return float(np.median(judge.scores([peptides.sequences[row] for row in rows])))


def _refolded(peptides: PeptideSet) -> Refolded | Unavailable:
    """Return ESMFold's structure and the designed backbone of each peptide that ESMFold folded.

    The backbone is ``(length, 4, 3)`` in Å, or None if the peptide has no backbone. The result is
    `Unavailable` without ESMFold, or if ESMFold folded no peptide.
    """
    judge = peptides.judges.esmfold
    if isinstance(judge, Unavailable):
        return judge
    rows = _draw(peptides, "ESMFold", peptides.judges.num_folded)
    sequences = [peptides.sequences[row] for row in rows]
    structures = {
        outcome.sequence: outcome
        for batch in judge.predict(list(dict.fromkeys(sequences)))
        for outcome in batch
        if isinstance(outcome, Structure)
    }
    if not structures:
        return Unavailable("ESMFold folded none of them")
    backbones = peptides.backbones or [None] * len(peptides.sequences)
    return [
        (structures[sequence], backbones[row])
        for sequence, row in zip(sequences, rows, strict=True)
        if sequence in structures
    ]


def _plddt(pairs: Refolded) -> Value:
    plddt = [structure.plddt.mean() for structure, _ in pairs if structure.plddt is not None]
    return float(np.mean(plddt))


def _self_consistency(pairs: Refolded) -> Value:
    traces = [
        (structure.backbone[:, 1], backbone[:, 1])
        for structure, backbone in pairs
        if backbone is not None
    ]
    if not traces:
        return Unavailable("these peptides have no backbone")
    return float(np.median(compare(*zip(*traces, strict=True))[0]))


_GROUP = "Independent judges"

METRICS: tuple[Metric, ...] = (
    Metric(
        "called", _GROUP, "Called as asked, by a classifier of labels (share)", "≥ held-out",
        "share", "Peptides that a classifier, trained here on the training peptides, gives all "
        "labels that were asked for.", _called, in_story=False,
    ),
    Metric(
        "macrel", _GROUP, "Macrel: antimicrobial, p > 0.5 (share)", "above shuffled", "share",
        "Peptides that Macrel (Santos-Júnior et al., PeerJ 8:e10555, 2020) gives a probability "
        "above 0.5 of being antimicrobial.", lambda peptides: peptides.once(_macrel),
        in_story=False,
    ),
    Metric(
        "macrel_uplift", _GROUP, "Macrel: share above that of own shuffles", "as held-out", "share",
        "Share that Macrel finds antimicrobial, less the share of the same peptides with their "
        "residues in random order: what is not in the composition alone.", _macrel_uplift,
        in_story=False,
    ),
    Metric(
        "pseudo_perplexity", _GROUP, "ESM-2 pseudo-perplexity, median", "as held-out", "1–20",
        "Exponential of the mean negative log-probability of each residue, hidden in turn (Salazar "
        "et al., ACL 2020), under ESM-2; at most 200 peptides; 20 is chance.", _pseudo_perplexity,
        in_story=False,
    ),
    Metric(
        "plddt", _GROUP, "Refolded by ESMFold: pLDDT, mean", "as held-out", "0–100",
        "Mean pLDDT of the peptides' structures by ESMFold; at most evaluation.num_folded.",
        function_of(_refolded, _plddt), in_story=False,
    ),
    Metric(
        "self_consistency", _GROUP, "Refolded by ESMFold: Cα RMSD, median (Å)", "low", "Å",
        "Cα RMSD between a design's backbone and ESMFold's structure of its sequence.",
        function_of(_refolded, _self_consistency), in_story=False,
    ),
)  # fmt: skip
