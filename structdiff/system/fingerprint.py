"""Fingerprints of code and of input files, which tell the workflow which stages to run again.

``fingerprint("structdiff.peptides.stage", digests)`` hashes the module and every module of the
package that it imports, directly or not. The hash is of the syntax tree without docstrings:
comments, documentation, formatting and imports for type checkers do not change it. Modules are
read, not imported, so that the hash takes milliseconds even if a stage needs torch.

``constant("structdiff.training", "CODE_VERSION")`` reads the version of an expensive stage, which
is raised by hand, so that a refactoring does not cost days of GPU time.

``digests.content(path)`` hashes the bytes of a file, or of all files of a folder: an edited table
counts as changed even if its modification time is old, and a copied table does not.
"""

import ast
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from structdiff.system.files import hash_file, visible_files, write_text

__all__ = ["Digests", "constant", "fingerprint"]

PACKAGE = Path(__file__).resolve().parents[1]

#: Modules that do not change what a stage writes: the workflow compares settings by their
#: values, and messages are not results.
NEUTRAL = frozenset({"structdiff.config", "structdiff.system.errors", "structdiff.system.progress"})

SETTLED_NS = 2 * 10**9
"""A file that changed less than this many ns ago may change again without a new modification time;
the next request computes its digest again."""


class Digests:
    """Digests of files, computed once and stored until a file changes on the disk.

    A file counts as unchanged while its size, modification time, change time and inode are the
    same. Programs cannot set the change time, so that a copy with preserved times is noticed.

    Parameters
    ----------
    file
        File in which the digests are stored, if its folder exists.
    """

    def __init__(self, file: Path):
        self._file = file
        try:
            self._known: dict[str, list] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # missing or damaged: the files are hashed again
            self._known = {}
        self._changed = False

    def content(self, path: str | os.PathLike) -> str:
        """Return the digest of a file, or of all files of a folder that are not hidden.

        If the file or folder was removed, its last digest is returned.

        Raises
        ------
        FileNotFoundError
            If the file or folder is missing and was never hashed.
        """
        known = self._known.get(f"content {Path(path)}")
        if known is not None and not Path(path).exists():
            return known[1]
        return self.remember("content", Path(path), _hash_content)

    def remember(self, kind: str, path: Path, compute: Callable[[Path], Any]) -> Any:
        """Return the stored result of ``compute(path)``; compute it again if the file changed.

        ``kind`` is the name under which results of this ``compute`` are stored.
        """
        key, now = f"{kind} {path}", time.time_ns()
        state, changed = _state(path)
        known = self._known.get(key)
        if known is None or known[0] != state:
            known = self._known[key] = [state, compute(path)]
            self._changed = True
        if now - changed < SETTLED_NS:  # `now` is the time before the computation
            known[0] = ""
        return known[1]

    def save(self) -> None:
        """Write the digests to the file."""
        if self._changed and self._file.parent.is_dir():
            write_text(self._file, json.dumps(self._known, indent=0))
            self._changed = False


def _state(path: Path) -> tuple[str, int]:
    """Return a hash of the state of a file or folder, and its last change in ns since 1970."""
    lines, last = [], 0
    for file in _files(path):
        stat = file.stat()
        last = max(last, stat.st_ctime_ns, stat.st_mtime_ns)
        numbers = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        lines.append(f"{file.relative_to(path)} {numbers}")
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest(), last


def _files(path: Path) -> list[Path]:
    """Return a file, or the `visible_files` of a folder, sorted by path."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in visible_files(path) if file.is_file())


def _hash_content(path: Path) -> str:
    lines = [f"{file.relative_to(path)} {hash_file(file)}" for file in _files(path)]
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()[:16]


def fingerprint(entry: str, digests: Digests) -> str:
    """Return a hash of the code of a module and of all modules of the package that it imports.

    Imports of imported modules count too; modules in `NEUTRAL` are left out.

    Parameters
    ----------
    entry
        Dotted name of the module, for example ``structdiff.generation.stage``.
    digests
        Store of the hashes of single modules, so that only changed modules are read.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ValueError
        If there is no such module in the package.
    """
    kind = f"code {sys.version_info[:2]} {_own_state()}"
    pending, reached = [entry], {}
    while pending:
        name = pending.pop()
        if name in reached or name in NEUTRAL:
            continue
        path = _source(name)
        if path is None:
            raise ValueError(f"{name} is not a module of the package")
        reached[name], imports = digests.remember(kind, path, _digest)
        pending += [module for module in imports if _source(module) is not None]
    digests.save()
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(reached.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def constant(module: str, name: str) -> str | int:
    """Return the value of a constant of a module without importing it.

    Raises
    ------
    ValueError
        If there is no such module, or it does not assign a text or an integer to the name at its
        top level.
    """
    path = _source(module)
    if path is not None:
        for node in _tree(path).body:
            match node:
                case ast.Assign([ast.Name(assigned)], ast.Constant(str() | int() as value)):
                    if assigned == name:
                        return value
    raise ValueError(f"{module} assigns no literal to {name}")


def _source(name: str) -> Path | None:
    """Return the file of a module; None if it is not a module of this package."""
    first, *parts = name.split(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts)
    for candidate in (path.with_suffix(".py") if parts else None, path / "__init__.py"):
        if candidate is not None and candidate.is_file():
            return candidate
    return None


@cache
def _own_state() -> str:
    """Return a hash of this file: another version may compute other fingerprints."""
    return _state(Path(__file__))[0][:16]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _digest(path: Path) -> tuple[str, list[str]]:
    """Return the hash of a module's syntax tree, and the modules of the package that it imports.

    `_Meaningful` first removes docstrings and imports for type checkers. The modules include the
    parent packages, and names that may be modules (``c`` in ``from a.b import c``).
    """
    tree = _Meaningful().visit(_tree(path))
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from a.b import c`: c is a module or a name in one.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        imports.update(name for name in names if name.split(".")[0] == PACKAGE.name)
    # Importing a.b.c runs a/__init__.py and a/b/__init__.py too.
    for name in list(imports):
        parts = name.split(".")
        imports.update(".".join(parts[:end]) for end in range(1, len(parts)))
    return digest, sorted(imports)


class _Meaningful(ast.NodeTransformer):
    """Syntax tree transformer that removes docstrings and imports for type checkers."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
        return node.orelse if name == "TYPE_CHECKING" else node
