"""What tests of more than one stage share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; where it is absent, the test is skipped."""
    folder = Path(os.environ.get("STRUCTDIFF_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "peptides.csv").is_file():
        pytest.skip("the real data is not here; set STRUCTDIFF_DATA to its folder")
    return folder
