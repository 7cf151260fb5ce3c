"""The report: what it holds, and how it opens in a browser, wide and narrow, light and dark."""

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

STORY = "document.querySelector('#app iframe')?.contentDocument"
TOLD = f"{STORY}?.querySelector('#verdict')"
DRAWN = "document.getElementById('view')?.dataset.drawn"
LAST = """[...document.querySelectorAll('KIND')].filter(
    item => item.textContent.includes('TEXT')).pop()"""

opens = pytest.mark.browser


def test_it_is_one_file_light_enough_to_mail(finished):
    report = finished.results / "report.html"
    assert report.stat().st_size < 8 * 2**20


@pytest.mark.parametrize(
    "file",
    [
        "report/story.html",
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


@opens
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_at_the_story_without_an_error_or_a_request(finished, browser, width, dark):
    url = (finished.results / "report.html").as_uri()
    page = browser.open(url, width=width, until=TOLD, dark=dark)
    assert page.errors == []
    assert page.requests == [url]
    assert page.ask("document.documentElement.scrollWidth") == width
    story = f"{STORY}.documentElement"
    assert page.ask(f"{story}.scrollWidth <= {story}.clientWidth")
    assert page.ask("document.querySelector('nav').offsetWidth > 0") == (width > 800)


@opens
def test_the_story_tells_every_chapter_and_draws_a_backbone(finished, browser):
    url = (finished.results / "report" / "story.html").as_uri()
    page = browser.open(url, until=DRAWN)
    chapters = page.ask("[...document.querySelectorAll('section')].map(part => part.id)")
    assert chapters == ["data", "structures", "training", "designs", "verdict"]
    assert page.ask("document.querySelectorAll('.card svg').length") > 1
    first, second = page.ask(
        "[...document.querySelectorAll('button[data-peptide]')].slice(0, 2)"
        ".map(button => button.dataset.peptide)"
    )
    assert page.ask(DRAWN).split()[:2] == [first, second]
    page.ask("document.querySelectorAll('button[data-peptide]')[0].click()")
    page.wait(f"{DRAWN}.split(' ')[0] === '{second}'")
    page.ask("document.querySelector('[data-value=confidence]').click()")
    page.wait("document.querySelector('[data-value=confidence]').ariaPressed === 'true'")
    assert page.ask("document.querySelectorAll('.logo svg').length") > 0
    assert page.ask("document.querySelectorAll('.card')[0].textContent.includes('Its set: ')")
    assert page.errors == []
    assert page.requests == [url]


@opens
def test_a_click_on_a_head_sorts_the_candidates(finished, browser):
    page = browser.open((finished.results / "report" / "story.html").as_uri())
    table = "document.querySelector('#designs table')"
    heads = page.ask(f"[...{table}.tHead.rows[0].cells].map(cell => cell.textContent)")
    column = heads.index("charge")
    for sign in (1, -1):
        page.ask(f"{table}.tHead.rows[0].cells[{column}].click()")
        cells = page.ask(f"[...{table}.tBodies[0].rows].map(r => +r.cells[{column}].textContent)")
        assert cells == sorted(cells, key=lambda value: sign * value)


@opens
@pytest.mark.parametrize(
    ("category", "result", "shown"),
    [
        ("0 Story", "The run in one page", "iframe[src^=blob]"),
        ("1 Peptides", "Nearest training neighbour", "img[src^='data:image/svg+xml']"),
        ("3 Training", "Losses", "img[src^='data:image/svg+xml']"),
        ("4 Designs", "All designs", "iframe[src^='data:text/html']"),
        ("5 Evaluation", "Every metric and its controls", "iframe[src^='data:text/html']"),
    ],
)
def test_a_click_shows_a_result_in_place(finished, browser, category, result, shown):
    page = browser.open((finished.results / "report.html").as_uri(), until=TOLD)
    page.ask(LAST.replace("KIND", "a").replace("TEXT", category) + ".click()")
    row = LAST.replace("KIND", "tr").replace("TEXT", result)
    page.wait(row)
    page.ask(f"{row}.querySelector('a').click()")
    page.wait(f'document.querySelector("{shown}")')
    assert page.errors == []
