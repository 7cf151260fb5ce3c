"""Make Snakemake's report open at the story: ``python -m structdiff.report.frame report.html``.

Snakemake's page starts with the graph of the workflow and a menu, but readers want the story first.
On a narrow screen the menu is hidden; a click shows it.
"""

import argparse
from pathlib import Path

from structdiff.system.errors import UserError
from structdiff.system.files import write_text

__all__ = ["open_at_story"]

_SCRIPT = """
<script>
function openStory() {
  // React draws the page when it finds the time.
  if (!app) return setTimeout(openStory, 20);
  const path = Object.keys(results).find(path => path.endsWith('/report/story.html'));
  const story = results[path], packed = atob(story.data_uri.split('base64,')[1]);
  const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
  // For the menu: Chromium frames no data: URL of more than 2 MB, but a blob: URL of any size.
  story.data_uri = URL.createObjectURL(new Blob([bytes], {type: 'text/html'}));
  app.setView({content: 'html', contentPath: 'about:blank', resultPath: path,
    hideNavbar: innerWidth < 800});
  fillFrame(new TextDecoder().decode(bytes));
}

function fillFrame(page) {
  const frame = document.querySelector('#app iframe');
  if (frame) frame.srcdoc = page;  // at once, where a blob: URL takes its time
  else setTimeout(fillFrame, 20, page);
}

openStory();
document.title = 'StructDiff report';
</script>
</body>"""


def open_at_story(report: Path) -> None:
    """Change a report of Snakemake so that it opens at the page `0 Story`.

    Raises
    ------
    UserError
        If the file is not a report of Snakemake with a story.
    """
    text = report.read_text(encoding="utf-8")
    if "/report/story.html" not in text or "</body>" not in text:
        raise UserError(f"{report}: is not a report of Snakemake with a story in it")
    head, _, tail = text.rpartition("</body>")
    write_text(report, head + _SCRIPT.strip() + tail)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m structdiff.report.frame", description=__doc__)
    parser.add_argument("report", type=Path, help="what `snakemake --report` wrote")
    open_at_story(parser.parse_args().report)
