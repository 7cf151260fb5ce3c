"""Pages made when the site is built: every configuration key, command and message.

What stands there comes from the typed schema, from the command line and from the code itself, so
that it cannot fall behind them.
"""

import ast
import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import pydantic
import typer.main
from annotated_types import Ge, Gt, Le, Lt
from typer.core import TyperCommand, TyperGroup, TyperOption

from structdiff.cli import app
from structdiff.cli.examples import EXIT_STATUS
from structdiff.config import Config

DOCS = Path(__file__).resolve().parents[1]
PACKAGE = DOCS.parent / "structdiff"


def notebook_page() -> str:
    """Return the notebook as a page."""
    cells = json.loads((DOCS / "try.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    parts = [f"```python\n{source}\n```" if is_code else source for source, is_code in sources]
    return "\n\n".join([parts[0], "[The notebook](try.ipynb)", *parts[1:]]) + "\n"


def configuration_page() -> str:
    """Return the reference of the configuration: each key with type, default and meaning."""
    parts = [
        "# Configuration",
        "A run is one YAML file; what it leaves out takes the default below. A mistake stops at "
        "once with the key, the file and the nearest valid name. Paths are relative to the folder "
        "that Snakemake is started in. `results/<run>/config.yaml` holds all settings of a run.",
        *_section(Config, ""),
    ]
    return "\n\n".join(parts) + "\n"


def _section(section: type[pydantic.BaseModel], name: str) -> Iterator[str]:
    """Yield the keys of a section, then the sections within it."""
    if name:
        yield f"## {name} {{ #{name} }}\n\n{(section.__doc__ or '').strip()}"
    inner = []
    for key, field in section.model_fields.items():
        path = f"{name}.{key}" if name else key
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            inner.append((kind, path))
            continue
        meaning = " ".join((field.description or "").split())
        facts = f"{_kind(kind)}{_bounds(field.metadata)}, {_default(field)}"
        yield f"### `{path}` {{ #{path} }}\n\n*{facts}*" + (f"\n\n{meaning}" if meaning else "")
    for kind, path in inner:
        yield from _section(kind, path)


def _kind(kind: object) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in arguments)
    if origin is Union or type(kind).__name__ == "UnionType":
        return " or ".join("null" if one is type(None) else _kind(one) for one in arguments)
    if origin in (list, tuple):
        inner = " and ".join(_kind(one) for one in arguments)
        return f"list of {inner}"
    if origin is dict:
        return "mapping"
    if hasattr(kind, "__metadata__"):
        return _kind(arguments[0]) + _bounds(kind.__metadata__)
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(kind, "__name__", ""), str(kind)
    )


def _bounds(metadata: object) -> str:
    """Return the bounds of a number in words."""
    words = {Gt: ">", Ge: "≥", Lt: "<", Le: "≤"}
    found = []
    for item in metadata:
        inner = item.metadata if isinstance(item, pydantic.fields.FieldInfo) else [item]
        for bound in inner:
            for kind, sign in words.items():
                if isinstance(bound, kind):
                    value = getattr(bound, kind.__name__.lower())
                    found.append(f"{sign} {value:g}")
    return f" {' and '.join(found)}" if found else ""


def _default(field: pydantic.fields.FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "default null"
    if isinstance(value, bool):
        return f"default `{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"default `{list(value)}`"
    return f"default `{value}`" if value != "" else "default empty"


def commands_page() -> str:
    """Return the reference of the commands: each with its options and examples."""
    parts = [
        "# Commands",
        "`structdiff VERB --help` says the same. Each stage of the workflow is a verb that works "
        "without Snakemake. `structdiff --install-completion` lets the shell complete verbs and "
        "options.",
        EXIT_STATUS,
    ]
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="structdiff")
    for name in group.list_commands(context):
        parts += _command(group.get_command(context, name), f"structdiff {name}", context)
    return "\n\n".join(parts) + "\n"


def _command(command: TyperCommand | TyperGroup, path: str, parent: typer.Context) -> Iterator[str]:
    """Yield a command's description, options and examples, then its own commands'."""
    anchor = path.replace(" ", "-")
    yield f"## {path} {{ #{anchor} }}\n\n{' '.join((command.help or '').split())}"
    rows = [_option(option) for option in command.params if option.name != "help"]
    if rows:
        yield "| option | | meaning |\n|---|---|---|\n" + "\n".join(rows)
    if command.epilog:
        examples = [line for line in command.epilog.split("\n\n") if line != "Examples:"]
        yield "```bash\n" + "\n".join(examples) + "\n```"
    if isinstance(command, TyperGroup):
        context = typer.Context(command, info_name=path, parent=parent)
        for name in command.list_commands(context):
            yield from _command(command.get_command(context, name), f"{path} {name}", context)


def _option(option: TyperOption) -> str:
    """Return a row of the table of options."""
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        words = ", ".join(f"`{choice.value}`" for choice in kind)
    else:
        words = {Path: "path", str: "text", int: "whole number", float: "number"}.get(kind, "")
    if option.required:
        words += ", required"
    elif option.default is not None and option.default is not False:
        words += f", default `{getattr(option.default, 'value', option.default)}`"
    return f"| {names} | {words.removeprefix(', ')} | {option.help or ''} |".replace("\n", " ")


def messages_page() -> str:
    """Return every message of a `UserError` in the code, … standing for what differs."""
    parts = [
        "# Messages",
        "What StructDiff says (with exit status 2) when something can be put right; … stands for "
        "names and numbers. Each message says what to do; [more](../troubleshooting.md) on the "
        "common ones. The configuration's own mistakes (types, bounds, unknown keys) name the key.",
    ]
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError"
        ]
        told = [_message(call.args[0]) for call in calls if call.args]
        told = [" ".join(message.split()) for message in told if re.search(r"\w{3}", message)]
        if told:
            where = path.relative_to(PACKAGE).with_suffix("").as_posix()
            items = "\n".join(f"- {_escape(message)}" for message in dict.fromkeys(told))
            parts.append(f"## {where}\n\n{items}")
    return "\n\n".join(parts) + "\n"


def _message(node: ast.expr) -> str:
    """Return a string of the code with … for what is only known when it runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_message(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _message(node.left) + _message(node.right)
    return "…"


def _escape(message: str) -> str:
    return re.sub(r"([<>*_\[\]|#])", r"\\\1", message)


GENERATED = {
    "try.md": notebook_page,
    "reference/configuration.md": configuration_page,
    "reference/commands.md": commands_page,
    "reference/messages.md": messages_page,
}
