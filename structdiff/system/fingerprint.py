"""Fingerprints of the package's own code, by which the workflow knows which stages to run again.

``fingerprint("structdiff.peptides.stage")`` hashes the module and every module of the package that
it imports, directly or not. The hash is of the syntax tree without docstrings: comments,
documentation, formatting and imports for type checkers change nothing. Modules are read, never
imported, so that asking costs milliseconds even where a stage needs torch.

``constant("structdiff.training", "CODE_VERSION")`` reads the version that an expensive stage keeps
by hand, so that a refactoring does not cost days of GPU time.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

__all__ = ["constant", "fingerprint"]

PACKAGE = Path(__file__).resolve().parents[1]

#: Modules that decide nothing about what a stage writes: settings reach the workflow by their
#: values, and messages are no result.
NEUTRAL = frozenset({"structdiff.config", "structdiff.system.errors", "structdiff.system.progress"})


def fingerprint(*entries: str) -> str:
    """Return a hash of the code of some modules and of all that they import from the package.

    Parameters
    ----------
    entries
        Dotted names, for example ``structdiff.generation.stage``.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    ValueError
        If there is no such module in the package.
    """
    pending, reached = list(entries), {}
    while pending:
        name = pending.pop()
        if name in reached or name in NEUTRAL:
            continue
        path = _source(name)
        if path is None:
            raise ValueError(f"{name} is no module of the package")
        reached[name], imports = _digest(path)
        pending += [module for module in imports if _source(module) is not None]
    lines = "\n".join(f"{name} {digest}" for name, digest in sorted(reached.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def constant(module: str, name: str) -> str | int:
    """Return the literal that a module of the package assigns to a name at its top level.

    Raises
    ------
    ValueError
        If there is no such module, or it assigns no literal to the name.
    """
    path = _source(module)
    if path is not None:
        for node in _tree(path).body:
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign):
                targets, value = [node.target], node.value
            else:
                continue
            named = any(isinstance(item, ast.Name) and item.id == name for item in targets)
            if named and isinstance(value, ast.Constant):
                return value.value
    raise ValueError(f"{module} assigns no literal to {name}")


def _source(name: str) -> Path | None:
    """Return the file of a module of the package, None where the name is something else."""
    first, *parts = name.split(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*parts)
    for candidate in (path.with_suffix(".py") if parts else None, path / "__init__.py"):
        if candidate is not None and candidate.is_file():
            return candidate
    return None


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _digest(path: Path) -> tuple[str, frozenset[str]]:
    """Return the hash of a module's meaningful code, and the modules that it may import."""
    tree = _Meaningful().visit(_tree(path))
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    imports = set()
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
    return digest, frozenset(imports)


class _Meaningful(ast.NodeTransformer):
    """Drop what cannot change a result: strings that stand alone, and type-checking imports."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.AST]:
        self.generic_visit(node)
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
        return node.orelse if name == "TYPE_CHECKING" else node
