"""Checkpoints: written atomically with a checksum, and verified when read.

``Checkpoints(directory, keep).save(state, …)`` writes ``checkpoint_latest.pth`` and on request
``checkpoint_best.pth`` and ``checkpoint_epoch_N.pth``; ``newest()`` returns the last undamaged
checkpoint.

A checkpoint is written under a temporary name, synced and renamed. Its *manifest*, the file
``<name>.sha256`` next to it (in the format of sha256sum), has its hash. The new hash is added to
the manifest before the checkpoint is renamed, and the old hash is removed afterwards: even if the
process is killed in between, the manifest has the hash of the checkpoint. Checkpoints are loaded
with ``weights_only=True``: tensors and plain values, never code.
"""

import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from structdiff.system.errors import UserError
from structdiff.system.files import hash_file, sync

__all__ = ["BEST", "LATEST", "Checkpoints", "DamagedCheckpoint", "epoch_name", "read", "verify"]

LATEST = "checkpoint_latest.pth"
BEST = "checkpoint_best.pth"
PREVIOUS = "checkpoint_previous.pth"
"""The checkpoint before `LATEST`, used if `LATEST` is damaged."""

_EPOCH = re.compile(r"checkpoint_epoch_(\d+)\.pth")


class DamagedCheckpoint(Exception):
    """Error: a checkpoint is damaged or missing; the message has the file and the reason."""


def epoch_name(epoch: int) -> str:
    """Return the file name of an epoch's checkpoint."""
    return f"checkpoint_epoch_{epoch}.pth"


def verify(path: Path) -> str:
    """Compare a checkpoint with its manifest; return the SHA-256 of the checkpoint, as hex digits.

    Raises
    ------
    DamagedCheckpoint
        If the file or its manifest is missing, or they do not match.
    """
    if not path.is_file():
        raise DamagedCheckpoint(f"{path}: no such checkpoint")
    digests = _manifest(path)
    if not digests:
        raise DamagedCheckpoint(
            f"{path}: its manifest {_manifest_path(path).name} is missing, so it cannot be "
            "told from a damaged one"
        )
    digest = hash_file(path)
    if digest not in digests:
        raise DamagedCheckpoint(
            f"{path}: is damaged or half-written ({path.stat().st_size} bytes, whose sha256 is not "
            f"that of {_manifest_path(path).name})"
        )
    return digest


def read(path: Path) -> dict[str, Any]:
    """Verify a checkpoint and return its content, with all tensors on the CPU.

    Raises
    ------
    DamagedCheckpoint
        If the file or its manifest is missing, they do not match, the file has anything but tensors
        and plain values, or it is not a checkpoint of structdiff.
    """
    verify(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamagedCheckpoint(
            f"{path}: refused, it holds more than tensors and plain values "
            f"({str(error).splitlines()[0]})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise DamagedCheckpoint(f"{path}: is not a checkpoint of torch ({error})") from None
    if not isinstance(state, dict) or not {"model", "ema", "optimizer", "step"} <= state.keys():
        raise DamagedCheckpoint(f"{path}: is not a checkpoint of structdiff")
    return state


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    directory
        Folder of the checkpoints.
    keep
        How many ``checkpoint_epoch_N.pth`` files to keep; `save` removes older ones.
    """

    def __init__(self, directory: Path, keep: int):
        self.directory, self.keep = directory, keep

    @property
    def latest(self) -> Path:
        """Path of the latest checkpoint, whether or not it exists."""
        return self.directory / LATEST

    def save(self, state: dict[str, Any], *, best: bool = False, epoch: int | None = None) -> None:
        """Write a state as the latest checkpoint; the latest one so far becomes the previous one.

        Parameters
        ----------
        state
            Content of the checkpoint: tensors and plain values.
        best
            Whether to write the state also as the best checkpoint.
        epoch
            Number N of the ``checkpoint_epoch_N.pth`` to write as well; None for none.

        Raises
        ------
        UserError
            If the disk is full or not writable; the earlier checkpoints stay usable.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        latest = self.latest
        scratch = self.directory / f".{LATEST}.tmp"
        try:
            with scratch.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            digest = hash_file(scratch)
            # The latest comes last: once it is in place, so are the other files of its state.
            if best:
                _link(scratch, self.directory / BEST, [digest])
            if epoch is not None:
                _link(scratch, self.directory / epoch_name(epoch), [digest])
            if latest.is_file():
                _link(latest, self.directory / PREVIOUS, _manifest(latest))
            _publish(scratch, latest, [digest])
        except (OSError, RuntimeError) as error:
            scratch.unlink(missing_ok=True)
            cause = error.__context__  # the error of the disk, for which torch raises its own
            reason = cause if isinstance(cause, OSError) else error
            raise UserError(
                f"{latest}: cannot be written ({reason}); make room on the disk (or lower "
                "training.keep_checkpoints) and start again, it resumes from the last checkpoint"
            ) from error
        for old in sorted(self._epochs(), reverse=True)[self.keep :]:
            path = self.directory / epoch_name(old)
            path.unlink(missing_ok=True)
            _manifest_path(path).unlink(missing_ok=True)

    def import_checkpoint(self, source: Path, name: str) -> None:
        """Verify a checkpoint and copy it into the folder under ``name``, with a new manifest.

        Raises
        ------
        DamagedCheckpoint
            If the checkpoint or its manifest is missing, or they do not match.
        UserError
            If it cannot be written.
        """
        digest = verify(source)
        self.directory.mkdir(parents=True, exist_ok=True)
        scratch = self.directory / f".{name}.tmp"
        try:
            shutil.copyfile(source, scratch)
            sync(scratch)
            _publish(scratch, self.directory / name, [digest])
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise UserError(
                f"{source}: cannot be copied into {self.directory} ({error}); make room on the "
                "disk and start again"
            ) from error

    def newest(self) -> tuple[Path | None, list[str]]:
        """Return the first undamaged checkpoint of `candidates`, and messages about damaged ones.

        Damaged checkpoints that come before it are renamed to ``<name>.damaged``.

        Returns
        -------
        tuple[Path | None, list[str]]
            The path, None if there are no checkpoints; and a message for each renamed checkpoint.

        Raises
        ------
        UserError
            If there are checkpoints, but all of them are damaged.
        """
        problems, damaged = [], []
        for path in self.candidates():
            try:
                read(path)
            except DamagedCheckpoint as damage:
                problems.append(str(damage))
                damaged.append(path)
                continue
            for other in damaged:
                other.replace(other.with_name(f"{other.name}.damaged"))
            return path, problems
        if problems:
            raise UserError(
                "\n".join(problems) + f"\n{self.directory}: no complete checkpoint is left; "
                "restore one with its manifest, or move the folder away to train from the start"
            )
        return None, []

    def candidates(self) -> Iterator[Path]:
        """Yield the paths of all existing checkpoints, in the order in which `newest` tries them.

        The order is: latest, previous, checkpoints of single epochs (highest epoch first), best.
        """
        names = [LATEST, PREVIOUS]
        names += [epoch_name(epoch) for epoch in sorted(self._epochs(), reverse=True)]
        for name in [*names, BEST]:
            if (self.directory / name).is_file():
                yield self.directory / name

    def _epochs(self) -> list[int]:
        names = self.directory.glob("checkpoint_epoch_*.pth")
        return [int(m[1]) for m in (_EPOCH.fullmatch(path.name) for path in names) if m]


def _link(source: Path, target: Path, digests: list[str]) -> None:
    """Give a checkpoint a second name ``target``, atomically, as a hard link without a copy."""
    scratch = target.with_name(f".{target.name}.tmp")
    scratch.unlink(missing_ok=True)
    os.link(source, scratch)
    _publish(scratch, target, digests)


def _publish(scratch: Path, target: Path, digests: list[str]) -> None:
    """Rename a complete file to ``target``, whose manifest matches the file at every moment."""
    _write_manifest(target, [*_manifest(target), *digests])
    scratch.replace(target)
    _write_manifest(target, digests)
    sync(target.parent)  # the renames survive a power failure


def _manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _manifest(path: Path) -> list[str]:
    """Return the SHA-256 hashes in a checkpoint's manifest; an empty list without a manifest."""
    try:
        text = _manifest_path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def _write_manifest(path: Path, digests: list[str]) -> None:
    manifest = _manifest_path(path)
    scratch = manifest.with_name(f".{manifest.name}.tmp")
    with scratch.open("w", encoding="utf-8") as file:
        file.writelines(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(manifest)
