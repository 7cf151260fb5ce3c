"""Structures that the user already has: a folder or tar archive of PDB and mmCIF files.

A peptide gets the first chain that has the peptide's sequence; names of files and chains are not
compared with the peptide's id. The files, also in an archive, are read in the order of their paths.
A file that cannot be read is reported as a failure. A file of another format is reported as left
out.
"""

import gzip
import hashlib
import io
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from structdiff.protein.io import ENDINGS, MOST_BYTES, is_structure_file, read_structures
from structdiff.structures.predictors import Failure, Outcome, Predictor
from structdiff.system.errors import UserError
from structdiff.system.files import hash_file, visible_files

__all__ = ["FilesPredictor"]

BATCH_FILES = 4096
"""Number of files that are read before their structures are saved."""


class FilesPredictor(Predictor):
    """Predictor that reads a folder or tar archive (``.tar``, ``.tar.gz``, …) of structure files.

    Parameters
    ----------
    path
        Folder (searched with its subfolders) or archive.

    Raises
    ------
    UserError
        If the folder or archive does not exist. `key` and `predict` also raise it if the archive,
        the folder or a subfolder cannot be read.
    """

    name: ClassVar[str] = "files"
    remembers: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("path",)
    code_version = 5

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(
                f"structures.files.path: {self.path}: no such folder or archive "
                f"(looked for it from {Path.cwd()})"
            )

    @cached_property
    def key(self) -> dict[str, str | int]:
        """Key of the cache: name and code version of the predictor, and a hash of the files.

        For a folder, the hash covers the names and contents of the structure files; for an archive,
        its bytes.
        """
        try:
            content = self._digest()
        except OSError as error:
            raise self._unreadable(error) from None
        return {
            "predictor": self.name,
            "content": content,
            "code_version": self.code_version,
        }

    def predict(self, sequences: Sequence[str]) -> Iterator[list[Outcome]]:
        """Read all files once, and yield batches of structures and failures.

        Each sequence has one structure or one failure. Further `Failure` objects name files that
        cannot be read and files, models and chains that are left out, or are remarks (``noted``).

        Raises
        ------
        UserError
            If there is no structure file, or a folder or archive cannot be read.
        """
        asked = frozenset(sequences)
        wanted = set(sequences)
        batch: list[Outcome] = []
        number = 0
        for name, data in self._files():
            source = os.fsencode(name).decode("utf-8", "backslashreplace")
            if not is_structure_file(source):
                reason = f"files that end in '{_ending(source)}' are not read"
                batch.append(Failure(reason, source=source, kind="ignored"))
                continue
            number += 1
            batch += self._read(source, data, asked, wanted)
            if number % BATCH_FILES == 0:
                yield batch
                batch = []
        if not number:
            raise UserError(
                f"structures.files.path: {self.path} holds no structure file (these end in "
                f"{ENDINGS})"
            )
        batch += [
            Failure("no file holds this sequence", sequence=sequence, kind="absent")
            for sequence in sequences
            if sequence in wanted
        ]
        yield batch

    def _read(
        self,
        source: str,
        data: bytes | Path | None,
        asked: frozenset[str],
        wanted: set[str],
    ) -> list[Outcome]:
        """Return the structures of one file, with remarks on how they were read, and the failures.

        ``source`` is the file's name, and ``data`` its path or content. ``data`` is None for a link
        in an archive whose target the archive lacks. ``asked`` are all requested sequences.
        ``wanted`` are the requested sequences without a structure so far; this method removes from
        it the sequences whose structures it returns.
        """
        try:
            if data is None:
                raise ValueError("is a link that leads to no file of the archive")
            contents = read_structures(data, source)
        except ValueError as error:
            return [Failure(str(error), source=source)]
        outcomes: list[Outcome] = [
            Failure(reason, source=source, kind="ignored") for reason in contents.ignored
        ]
        for chain in contents.chains:
            sequence = chain.structure.sequence
            if sequence in wanted:
                wanted.remove(sequence)
                outcomes.append(chain.structure)
                outcomes += [Failure(n, sequence=sequence, kind="noted") for n in chain.notes]
            elif sequence in asked:
                reason = "another structure of a sequence: the first by the files' names is taken"
                outcomes.append(Failure(reason, source=source, kind="ignored"))
        return outcomes

    def _files(self) -> Iterator[tuple[str, bytes | Path | None]]:
        """Yield the name of each file that is not hidden, with its path or content.

        A file in a folder has its path. A structure file in an archive has its first
        `MOST_BYTES` + 1 bytes. Other files in an archive, and links whose target the archive lacks,
        have None.

        Raises
        ------
        UserError
            If the folder or archive cannot be read.
        """
        if self.path.is_dir():
            for path in self._listing:
                yield path.relative_to(self.path).as_posix(), path
            return
        try:
            with _open_tar(self.path) as archive:
                # Of several members with one name, the last one counts, as when tar unpacks them.
                members = {PurePosixPath(member.name): member for member in archive}
                for _, member in sorted(members.items()):
                    is_link = member.issym() or member.islnk()
                    if not (member.isfile() or is_link) or _is_hidden(member.name):
                        continue
                    data = None
                    if is_structure_file(member.name):
                        # A link without a target in the archive, or in a circle.
                        with suppress(KeyError, RecursionError):
                            file = archive.extractfile(member)
                            data = file.read(MOST_BYTES + 1) if file else None
                    yield member.name, data
        except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise UserError(
                f"structures.files.path: {self.path} is neither a folder nor a whole tar archive "
                f"({error}); unpack it, or fetch it again"
            ) from None

    @cached_property
    def _listing(self) -> list[Path]:
        """The paths of the files in the folder and its subfolders, sorted, without hidden files."""

        def refuse(error: OSError) -> None:
            raise self._unreadable(error)

        found = visible_files(self.path, refuse)
        return sorted(path for path in found if path.is_file() or _is_broken_link(path))

    def _unreadable(self, error: OSError) -> UserError:
        path = error.filename or self.path
        return UserError(f"structures.files.path: {path}: cannot be read ({error.strerror})")

    def _digest(self) -> str:
        if not self.path.is_dir():
            return hash_file(self.path)
        digest = hashlib.sha256()
        for path in self._listing:
            if not is_structure_file(path.name):
                continue
            name = path.relative_to(self.path).as_posix()
            size = path.lstat().st_size if _is_broken_link(path) else path.stat().st_size
            digest.update(os.fsencode(f"{name}\0{size}\0"))
            if size <= MOST_BYTES:  # `predict` does not read larger files
                digest.update(_content(path))
        return digest.hexdigest()


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive whose files can be read in any order.

    A compressed archive is unpacked to a temporary file. Otherwise, each step back to an earlier
    file would unpack the archive from its beginning.
    """
    with tarfile.open(path) as archive:
        stream: Any = archive.fileobj
        if isinstance(stream, io.BufferedReader):
            yield archive
            return
        with tempfile.TemporaryFile() as unpacked:
            stream.seek(0)
            try:
                shutil.copyfileobj(stream, unpacked)
            except gzip.BadGzipFile as error:  # gzip's message for bytes after the archive's end
                if not str(error).startswith("Not a gzipped file"):
                    raise
            unpacked.seek(0)
            with tarfile.open(fileobj=unpacked) as plain:
                yield plain


def _content(path: Path) -> bytes:
    """Return the bytes of a file; empty if it cannot be read, which `predict` reports."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _is_broken_link(path: Path) -> bool:
    """Return whether a path is a link whose target is missing."""
    return path.is_symlink() and not path.exists()


def _is_hidden(name: str) -> bool:
    """Return whether the name of a file, or of a folder on its path, begins with a dot.

    The ``._`` files of macOS are such files.
    """
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def _ending(name: str) -> str:
    """Return the ending of a file's name, such as ``.txt``, or ``.txt.gz`` if it is compressed."""
    endings = PurePosixPath(name.lower()).suffixes
    packed = endings[-1:] in ([".gz"], [".bz2"], [".xz"], [".zst"], [".z"])
    return "".join(endings[-2:] if packed else endings[-1:])
