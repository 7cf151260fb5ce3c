"""The layout of the report's pages."""

import re
from pathlib import Path

from structdiff import report
from structdiff.report.page import page


def test_each_class_of_the_style_sheet_is_used():
    style = page("", "").partition("<style>")[2].partition("</style>")[0]
    classes = set(re.findall(r"\.([a-z]+)(?=[^{}]*{)", style))
    modules = [path for path in Path(report.__file__).parent.glob("*.py") if path.stem != "page"]
    texts = re.findall(r"[\"']([a-z]+)[\"']", "".join(path.read_text() for path in modules))
    assert "sequence" in classes
    assert classes <= {*texts}
