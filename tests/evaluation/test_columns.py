"""The documentation has every column and every synthesis rule as the program has them."""

from pathlib import Path

import pytest

from structdiff.evaluation.columns import COLUMNS
from structdiff.protein.descriptors import SYNTHESIS_RULES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "columns.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("column", COLUMNS.values(), ids=list(COLUMNS))
def test_each_column_has_its_row(column):
    unit = column.unit or "–"
    assert f"| `{column.name}` | {unit} | {column.definition} | {column.source} |" in PAGE


@pytest.mark.parametrize("rule", SYNTHESIS_RULES, ids=[rule.name for rule in SYNTHESIS_RULES])
def test_each_rule_has_its_row(rule):
    assert f"| {rule.name} | {rule.reason} | {rule.source} |" in PAGE
