"""The JSON schema that editors read is the one of the typed configuration.

Run as a script (`make schema`), this writes the schema anew.
"""

import json
from pathlib import Path

import pytest
import yaml

from structdiff.config import Config, load

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.json"
CONFIGURATIONS = sorted((ROOT / "config").glob("*.yaml"))


def current() -> str:
    """Return the schema of the configuration as it is now."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= Config.model_json_schema(mode="validation")
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def test_the_schema_is_up_to_date():
    assert SCHEMA.read_text(encoding="utf-8") == current(), "run `make schema`"


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_our_configurations_are_valid_by_both(path):
    jsonschema = pytest.importorskip("jsonschema")
    load(path)
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(current()))


if __name__ == "__main__":
    SCHEMA.write_text(current(), encoding="utf-8")
