"""Snakemake's report, made to open at the story."""

import pytest

from structdiff.report.frame import open_at_story
from structdiff.system.errors import UserError


def test_the_script_goes_to_the_end_of_the_page(tmp_path):
    report = tmp_path / "report.html"
    report.write_text('<body>"results/x/report/story.html" &lt;/body> ä\n</body>\n</html>\n')
    open_at_story(report)
    text = report.read_text()
    assert text.count("openStory();") == 1
    assert text.endswith("</script>\n</body>\n</html>\n")
    assert list(tmp_path.iterdir()) == [report]


def test_a_page_without_a_story_is_refused(tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<body></body>")
    with pytest.raises(UserError, match="is not a report of Snakemake with a story"):
        open_at_story(report)
    assert report.read_text() == "<body></body>"
