"""Structures that the user already has: a folder or tar archive of PDB and mmCIF files.

A peptide takes the first chain that has its sequence, in the order of the file names (an archive's
own order); names do not count. A file that cannot be read is a failure, named with its reason.
"""

import hashlib
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from structdiff.protein.io import SUFFIXES, read_structures
from structdiff.structures.predictors import Failure, Outcome, Predictor
from structdiff.system.errors import UserError

__all__ = ["FilesPredictor"]

BATCH_FILES = 4096
"""Files read between two savings."""

_ENDINGS = (*SUFFIXES, *(f"{suffix}.gz" for suffix in SUFFIXES))


class FilesPredictor(Predictor):
    """A folder, or tar archive (``.tar``, ``.tar.gz``, …), of structure files.

    Parameters
    ----------
    path
        Folder (searched with its subfolders) or archive.

    Raises
    ------
    UserError
        If there is no such folder or archive, if it is damaged, or holds no structure file.
    """

    name: ClassVar[str] = "files"
    remembers: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("path",)
    code_version = 1

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(
                f"structures.files.path: {self.path}: no such folder or archive "
                f"(looked for it from {Path.cwd()})"
            )

    @cached_property
    def key(self) -> dict[str, str | int]:
        """The key: the content of the files, wherever they lie."""
        return {
            "predictor": self.name,
            "content": self._digest(),
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Read all files once; yield a structure of each sequence, or that there is none."""
        wanted = set(sequences)
        batch: list[Outcome] = []
        seen = 0
        for source, data in self._files():
            seen += 1
            batch += self._read(source, data, wanted)
            if seen % BATCH_FILES == 0:
                yield batch
                batch = []
        if not seen:
            raise UserError(
                f"structures.files.path: {self.path} holds no structure file "
                f"(these end in {', '.join(SUFFIXES)}, or .gz)"
            )
        absent = [
            Failure("no file holds this sequence", sequence=sequence, kind="absent")
            for sequence in sequences
            if sequence in wanted
        ]
        yield batch + absent

    def _read(self, source: str, data: bytes, wanted: set[str]) -> list[Outcome]:
        """Return the wanted structures of one file, and take them out of ``wanted``."""
        try:
            contents = read_structures(data, source)
        except ValueError as error:
            return [Failure(str(error), source=source)]
        outcomes: list[Outcome] = [
            Failure(reason, source=source, kind="ignored") for reason in contents.ignored
        ]
        for structure in contents.structures:
            if structure.sequence in wanted:
                wanted.remove(structure.sequence)
                outcomes.append(structure)
        return outcomes

    def _files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and bytes of every structure file, in order."""
        if self.path.is_dir():
            for path in self._listing():
                yield path.relative_to(self.path).as_posix(), path.read_bytes()
            return
        try:
            with tarfile.open(self.path) as archive:
                for member in archive:
                    if member.isfile() and _is_structure(member.name):
                        yield member.name, archive.extractfile(member).read()
        except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise UserError(
                f"structures.files.path: {self.path} is no folder and no whole tar archive "
                f"({error}); unpack it, or fetch it again"
            ) from None

    def _listing(self) -> list[Path]:
        found = (path for path in self.path.rglob("*") if _is_structure(path.name))
        return sorted(path for path in found if path.is_file())

    def _digest(self) -> str:
        if self.path.is_dir():
            digest = hashlib.sha256()
            for name, data in self._files():
                digest.update(f"{name}\0{len(data)}\0".encode())
                digest.update(data)
            return digest.hexdigest()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _is_structure(name: str) -> bool:
    """Whether a file's name is that of a structure, and not hidden as macOS' ``._`` files are."""
    name = PurePosixPath(name).name
    return name.lower().endswith(_ENDINGS) and not name.startswith(".")
