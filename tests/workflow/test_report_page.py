"""The report: what it holds, and how it opens in a browser."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=10000",
    "--dump-dom",
]

CLICKS = """<script>
const last = (kind, text) =>
  [...document.querySelectorAll(kind)].filter(item => item.textContent.includes(text)).pop();
setTimeout(() => last('a', 'CATEGORY').click(), 1000);
setTimeout(() => last('tr', 'RESULT').querySelector('a').click(), 2000);
</script>"""

browser = pytest.mark.browser
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def test_it_is_one_file_light_enough_to_mail(finished):
    report = finished.results / "report.html"
    assert report.stat().st_size < 10 * 2**20


@pytest.mark.parametrize(
    "file",
    [
        "report/peptides.html",
        "report/rejected.html",
        "report/leakage.html",
        "report/structures.html",
        "report/selection.html",
        "report/designs.html",
        "report/candidates.html",
        "report/verdict.html",
        "report/metrics.html",
        "report/configuration.html",
        "peptides/leakage.svg",
        "figures/losses.svg",
        "figures/learning_rate.svg",
        "figures/gradient_norm.svg",
        "figures/throughput.svg",
        "evaluation/composition.svg",
        "evaluation/neighbours.svg",
        "evaluation/ramachandran.svg",
        "generation/antimicrobial.fasta",
    ],
)
def test_it_holds_every_result(finished, file):
    assert f"results/tiny/{file}" in (finished.results / "report.html").read_text()


@dataclass(frozen=True)
class Opened:
    """What a browser made of a page: its elements, and what it wrote to the console."""

    dom: str
    console: list[str]


def open_page(page: Path, profile: Path) -> Opened:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    # The one line that Snakemake's own style sheet always writes.
    return Opened(done.stdout, [line for line in console if "cdn.tailwindcss.com" not in line])


@browser
@needs_chromium
def test_it_opens_without_an_error_or_a_request(finished, tmp_path):
    opened = open_page(finished.results / "report.html", tmp_path)
    assert opened.console == []
    for category in ("1 Peptides", "2 Structures", "3 Training", "4 Designs", "5 Evaluation"):
        assert f">{category}</" in opened.dom
    elements = opened.dom[opened.dom.index('<div id="app"') :]
    assert re.findall(r'<(?:script|img|iframe)[^>]*src="http[^"]*"', elements) == []


@browser
@needs_chromium
@pytest.mark.parametrize(
    ("category", "result", "shown"),
    [
        ("1 Peptides", "Nearest training neighbour", '<img src="data:image/svg+xml'),
        ("3 Training", "Losses", '<img src="data:image/svg+xml'),
        ("4 Designs", "All designs", '<iframe src="data:text/html'),
        ("5 Evaluation", "Every metric beside its controls", '<iframe src="data:text/html'),
    ],
)
def test_a_click_shows_a_result_in_place(finished, tmp_path, category, result, shown):
    page = tmp_path / "clicked.html"
    clicks = CLICKS.replace("CATEGORY", category).replace("RESULT", result)
    page.write_text((finished.results / "report.html").read_text() + clicks)
    opened = open_page(page, tmp_path / "profile")
    assert opened.console == []
    assert shown in opened.dom
