"""Journal of designs: each design is saved as it is drawn, so that a killed command resumes.

`resume` reads what an earlier command has drawn, and `draw_all` draws the rest. In a block
``with interruptible()``, SIGINT and SIGTERM raise KeyboardInterrupt.
"""

import base64
import json
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structdiff.system.files import replacing
from structdiff.system.progress import Progress

if TYPE_CHECKING:
    from structdiff.generation.folding import Fold
    from structdiff.generation.tasks import Design

__all__ = [
    "INTERRUPTED",
    "Draw",
    "Drawn",
    "append",
    "draw_all",
    "interruptible",
    "read_lines",
    "resume",
]

INTERRUPTED = 130
"""Exit status of a command that was interrupted."""


@dataclass(slots=True)
class Drawn:
    """A drawn design, as it is stored in the journal and the files.

    Attributes
    ----------
    sequence
        One-letter codes.
    backbone
        N, Cα, C, O in Å, ``(length, 4, 3)``; None if only the sequence was drawn.
    confidence
        Confidence of each residue, ``(length,)`` in 0–1; None if the backbone was not predicted by
        folding.
    candidate
        Number of the candidate that became this analogue; None if the design is not an analogue.
    asked
        Requested value of each property by its name, in its unit.
    redraws
        How often the design was drawn again because it was a training peptide.
    log_likelihood
        Mean log-probability of the residues, in nats; None if the design is not scored.
    """

    sequence: str
    backbone: np.ndarray | None
    confidence: np.ndarray | None = None
    candidate: int | None = None
    asked: Mapping[str, float] = field(default_factory=dict)
    redraws: int = 0
    log_likelihood: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the design as a dictionary for JSON; its arrays become float32 as base64 text."""
        arrays = {"backbone": self.backbone, "confidence": self.confidence}
        coded = {
            name: base64.b64encode(array.astype(np.float32).tobytes()).decode()
            for name, array in arrays.items()
            if array is not None
        }
        values: dict[str, Any] = {"sequence": self.sequence, "candidate": self.candidate, **coded}
        if self.asked:
            values["asked"] = dict(self.asked)
        if self.redraws:
            values["redraws"] = self.redraws
        if self.log_likelihood is not None:
            values["log_likelihood"] = self.log_likelihood
        return values

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Drawn":
        """Return the design whose `to_json` returned ``value``."""
        backbone, confidence = (
            np.frombuffer(base64.b64decode(value[name]), dtype=np.float32)
            if name in value
            else None
            for name in ("backbone", "confidence")
        )
        if backbone is not None:
            backbone = backbone.reshape(-1, 4, 3)
        return cls(
            value["sequence"],
            backbone,
            confidence,
            value.get("candidate"),
            value.get("asked", {}),
            value.get("redraws", 0),
            value.get("log_likelihood"),
        )


Draw = Callable[[Mapping[int, Drawn]], Iterator["Design | Fold"]]
"""Function that yields the designs of a set; it takes the designs drawn before, by number."""


def draw_all(
    path: Path,
    records: Sequence[dict[int, Drawn]],
    sets: Sequence[tuple[str, Draw]],
    total: int,
    description: str,
) -> None:
    """Draw the designs that the journal lacks, and save each in the journal as it is drawn.

    Parameters
    ----------
    path, records
        Path of the journal, and the designs that `resume` has read from it. New designs are added
        to both.
    sets
        For each set, its label query and the function that yields its designs.
    total, description
        Number of designs of all sets together, and the task, for the progress line.
    """
    with path.open("a", encoding="ascii") as file, Progress(description, total, "peptides") as bar:
        bar.advance(sum(map(len, records)))
        for number, (label, draw) in enumerate(sets):
            drawn = records[number]
            for design in draw(drawn):
                if design.number not in drawn:
                    record = drawn[design.number] = Drawn(
                        design.sequence,
                        design.backbone,
                        getattr(design, "confidence", None),
                        getattr(design, "candidate", None),
                        getattr(design, "asked", {}),
                        getattr(design, "redraws", 0),
                    )
                    append(file, {"set": number, "number": design.number, **record.to_json()})
                    bar.advance(note=label)


def append(journal: Any, value: dict[str, Any]) -> None:
    """Append a value to an open journal, as a line of JSON with a checksum, and flush the file."""
    text = json.dumps(value)
    journal.write(f"{zlib.crc32(text.encode()):08x} {text}\n")
    journal.flush()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the values that `append` wrote into a file; damaged lines are left out."""
    lines = []
    for line in path.read_bytes().splitlines():
        checksum, _, text = line.partition(b" ")
        with suppress(ValueError):
            if int(checksum, 16) == zlib.crc32(text):
                lines.append(json.loads(text))
    return lines


def resume(path: Path, identity: str, sets: int) -> list[dict[int, Drawn]]:
    """Return the designs that the journal has: for each set, a dictionary of designs by number.

    The journal is rewritten without damaged lines, and without designs of other settings or of
    another model.

    Parameters
    ----------
    path
        The journal; it is created if it does not exist.
    identity
        Everything that determines the designs, as text.
    sets
        Number of sets.
    """
    records: list[dict[int, Drawn]] = [{} for _ in range(sets)]
    header, *lines = (read_lines(path) if path.exists() else []) or [{}]
    if lines and header != {"settings": identity}:
        print(f"{path}: has designs of other settings or of another model; they are drawn again")
        lines = []
    if lines:
        print(f"{len(lines):,} designs were drawn before; resuming", flush=True)
    for line in lines:
        records[line["set"]][line["number"]] = Drawn.from_json(line)
    # Rewrite the journal, because the next line would be appended to an unfinished last line.
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as journal:
        for line in ({"settings": identity}, *lines):
            append(journal, line)
    return records


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Raise KeyboardInterrupt at SIGINT and SIGTERM within the block.

    Signals that are already ignored stay ignored. Outside the main thread, nothing changes.

    Yields
    ------
    Callable
        Function to call when the block must no longer be interrupted: from this call to the end
        of the block, both signals are ignored.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def handle(handler: Any) -> None:
        for number in before:
            signal.signal(number, handler)

    is_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    handlers = {number: signal.getsignal(number) for number in signals}
    # A background job of a shell ignores SIGINT; it must still ignore it within the block.
    before = {number: kept for number, kept in handlers.items() if kept != signal.SIG_IGN}
    handle(interrupt)
    try:
        yield lambda: handle(signal.SIG_IGN)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
