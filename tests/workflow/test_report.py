"""The report: what it holds, and how it opens in a browser."""

import re
import shutil
import subprocess

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

browser = pytest.mark.browser
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def test_it_is_one_file_light_enough_to_mail(finished):
    report = finished.results / "report.html"
    assert report.stat().st_size < 10 * 2**20


@pytest.mark.parametrize(
    "file",
    [
        "peptides/leakage.png",
        "peptides/split_report.tsv",
        "structures/summary.tsv",
        "selection/selection.tsv",
        "figures/losses.png",
        "figures/learning_rate.png",
        "figures/gradient_norm.png",
        "figures/throughput.png",
        "generation/antimicrobial.fasta",
        "evaluation/metrics.tsv",
        "evaluation/candidates.tsv",
    ],
)
def test_it_holds_every_result(finished, file):
    assert f"results/tiny/{file}" in (finished.results / "report.html").read_text()


@browser
@needs_chromium
def test_it_opens_without_an_error_or_a_request(finished, tmp_path):
    page = (finished.results / "report.html").as_uri()
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    for category in ("1 Peptides", "2 Structures", "3 Training", "4 Designs", "5 Evaluation"):
        assert category in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    sources = re.findall(r'(?:src|href)="(https?:[^"]+\.(?:js|css|woff2?|png|svg))"', done.stdout)
    assert sources == []
