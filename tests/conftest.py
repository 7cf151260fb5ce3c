"""What tests of more than one stage share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for `tests.browser`, however pytest was started

from tests.browser import CHROMIUM, Browser  # noqa: E402


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; where it is absent, the test is skipped."""
    folder = Path(os.environ.get("STRUCTDIFF_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "peptides.csv").is_file():
        pytest.skip("the real data is not here; set STRUCTDIFF_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """A headless Chromium; where it is absent, the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser
