"""Gallery of peptides: 3D structures, sequence logos and cards, as a part of a page.

``gallery(sets, backbones)`` returns this part as HTML. It is used in the story of a run, and in the
pages about evaluated files, chosen peptides and analogues.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from structdiff.protein.ends import FLAGS, FREE, Ends, read_ends
from structdiff.report.logo import logo
from structdiff.report.verdicts import tone
from structdiff.report.viewer import Backbone, viewer
from structdiff.report.wheel import CLASSES, wheel

__all__ = ["CARDS", "Card", "CardSet", "candidate_set", "ends_in", "find_structures", "gallery"]

CARDS = 3
"""Largest number of cards of a set of candidates or analogues."""


@dataclass(frozen=True)
class Card:
    """Text of the card of one peptide.

    Attributes
    ----------
    id, sequence
        Id and residues of the peptide.
    heading
        Title of the card.
    facts
        Properties in one line.
    remark
        Criteria that the peptide fails, or its synthesis warnings; if there are none, a text that
        says so.
    ends
        Ends of the peptide.
    """

    id: str
    sequence: str
    heading: str
    facts: str
    remark: str
    ends: Ends = FREE


@dataclass(frozen=True)
class CardSet:
    """A set of peptides with its verdict and its cards.

    Attributes
    ----------
    name
        Name of the set.
    verdict
        Verdict on the whole set; empty if it was not judged.
    sequences
        Sequences of all its peptides, for the logo.
    cards
        Cards of the peptides that are shown one by one.
    """

    name: str
    verdict: str
    sequences: Sequence[str]
    cards: Sequence[Card] = field(default_factory=list)


def gallery(sets: Sequence[CardSet], backbones: Mapping[str, Backbone]) -> str:
    """Return HTML with the structures, logos and cards of sets of peptides; "" if there is no card.

    Parameters
    ----------
    sets
        The sets.
    backbones
        Structures by the id of the peptide, for the peptides that have one.
    """
    if not any(part.cards for part in sets):
        return ""
    shown = {
        card.id: backbones[card.id] for part in sets for card in part.cards if card.id in backbones
    }
    if shown:
        content = f"<h3>In 3D</h3>{viewer(shown)}"
    else:
        key = "".join(
            f'<span><i style="background:{color}"></i>{name}</span>'
            for name, (_, color) in CLASSES.items()
        )
        content = f'<p class="key">{key}</p>'
    for part in sets:
        cards = "".join(_card(card, part.verdict, card.id in shown) for card in part.cards)
        content += f"<h3>{escape(part.name)}</h3>"
        if part.sequences:
            drawn = logo(part.sequences, part.name) if len(part.sequences) > 1 else ""
            content += f'{drawn}<div class="cards">{cards}</div>'
        else:
            content += "<p>No valid peptide.</p>"
    return content


def _card(card: Card, verdict: str, drawn: bool) -> str:
    identifier = escape(card.id)
    judged = contrast = ""
    if verdict:
        contrast = "By itself: "
        judged = f'<p>Its set: <b class="{tone(verdict)}">{escape(verdict)}</b></p>'
    button = (
        f'<button data-peptide="{identifier}" aria-label="show {identifier} in 3D">show in 3D'
        "</button>"
        if drawn
        else ""
    )
    return (
        f'<div class="card"><h4>{escape(card.heading)}</h4>'
        f'<div class="peptide">{escape(card.ends.marked(card.sequence))}</div>'
        f"{wheel(card.sequence)}"
        f'<p>{escape(card.facts)}</p>{judged}<p class="note">{contrast}{escape(card.remark)}</p>'
        f"{button}</div>"
    )


def _candidate_card(row: Mapping[str, str]) -> Card:
    """Return the card of a row of ``candidates.tsv``."""
    similarity = "no training peptide to compare with"
    if row["similarity"]:
        nearest = f" ({row['nearest_training']})" if row["nearest_training"] else ""
        similarity = f"nearest training peptide {float(row['similarity']):.2f}{nearest}"
    return Card(
        row["id"],
        row["sequence"],
        f"{row['rank']}. {row['id']}",
        f"{row['length']} residues, charge {float(row['charge']):+.1f}, moment "
        f"{float(row['moment']):.2f}; {similarity}",
        row["reasons"],
        ends_in(row),
    )


def ends_in(row: Mapping[str, str]) -> Ends:
    """Return the ends of a peptide from its row's cells ``acetylated`` and ``amidated``, if any."""
    ends, _ = read_ends({flag: row[flag] for flag in FLAGS if flag in row})
    return ends


def candidate_set(name: str, verdict: str, candidates: Iterable[Mapping[str, str]]) -> CardSet:
    """Return a set of designs, with the cards of its best candidates.

    Parameters
    ----------
    name
        Name of the set, as in the column ``set`` of the candidates.
    verdict
        Verdict on the whole set; empty if it was not judged.
    candidates
        Rows of ``candidates.tsv``, best first within each set.
    """
    rows = [row for row in candidates if row["set"] == name]
    cards = [_candidate_card(row) for row in rows[:CARDS]]
    return CardSet(name, verdict, [row["sequence"] for row in rows], cards)


def find_structures(source: Path, cards: Iterable[Card]) -> dict[str, Backbone]:
    """Read the structures of peptides from the PDB files of designs, ``pdb/<id>.pdb``.

    Parameters
    ----------
    source
        Folder of designs, folder of a run, or a file in the folder of designs.
    cards
        Cards of the peptides whose structures are wanted.

    Returns
    -------
    dict[str, Backbone]
        Structures by the id of the peptide, for the peptides that have a PDB file.
    """
    folders = [source, source / "generation"] if source.is_dir() else [source.parent]
    found = {}
    for card in cards:
        for folder in folders:
            path = folder / "pdb" / f"{card.id}.pdb"
            if Path(card.id).name == card.id and path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                found[card.id] = Backbone(card.sequence, text, text if _confident(text) else "")
                break
    return found


def _confident(pdb: str) -> bool:
    """Return whether the text of a PDB file has a confidence (pLDDT) in its B-factor column."""
    factors = [line[60:66].strip() for line in pdb.splitlines() if line.startswith("ATOM")]
    return any(float(factor) > 0 for factor in factors if factor)
