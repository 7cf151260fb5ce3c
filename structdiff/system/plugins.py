"""Registries of plugins: parts that other packages can add, loaded on first use.

Another package adds a plugin by an entry point, for example in its ``pyproject.toml``::

    [project.entry-points."structdiff.predictors"]
    mine = "mypackage.folding:MyPredictor"
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from structdiff.system.errors import UserError

__all__ = ["METRICS", "PREDICTORS", "Registry"]


class Registry:
    """Registry of the plugins of one kind, from this package and from others.

    If a plugin of another package has the name of a built-in one, the built-in one is used.

    Parameters
    ----------
    kind
        Name of the kind in messages, for example ``predictor``.
    group
        Group of the entry points.
    built_in
        Plugins of this package: ``module:attribute`` by name.
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, str]):
        self.kind, self.group, self.built_in = kind, group, built_in

    def names(self) -> list[str]:
        """Return the names of all plugins, without loading them."""
        return list(dict.fromkeys([*self.built_in, *sorted(self._others())]))

    def load(self, name: str) -> Any:
        """Import and return the plugin with a name.

        Raises
        ------
        UserError
            If no plugin has this name, or a plugin of another package cannot be imported.
        """
        if name in self.built_in:
            module, _, attribute = self.built_in[name].partition(":")
            return getattr(import_module(module), attribute)
        others = self._others()
        if name not in others:
            known = ", ".join(self.names())
            raise UserError(
                f"there is no {self.kind} '{name}', but {known}; another package adds one by an "
                f"entry point of the group {self.group}"
            )
        try:
            return others[name].load()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{self.kind} '{name}': {others[name].value} cannot be imported: {error}"
            ) from error

    def _others(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}


PREDICTORS = Registry(
    "structure predictor",
    "structdiff.predictors",
    {
        "ideal": "structdiff.structures.predictors.ideal:IdealPredictor",
        "files": "structdiff.structures.predictors.structure_files:FilesPredictor",
        "esmfold": "structdiff.structures.predictors.esmfold:ESMFoldPredictor",
        "esmfold2": "structdiff.structures.predictors.esmfold2:ESMFold2Predictor",
        "structdiff": "structdiff.structures.predictors.trained:DenoiserPredictor",
    },
)
"""Classes with the interface of `structdiff.structures.predictors.Predictor`."""

METRICS = Registry("metric", "structdiff.metrics", {})
"""Metrics of other packages; `structdiff.evaluation.registry` adds this package's own metrics."""
