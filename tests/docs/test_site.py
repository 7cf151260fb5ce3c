"""The documentation: complete, without a dead link, and a site that asks for nothing elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pydantic
import pytest
import typer.main
from snakemake.cli import get_argument_parser

import structdiff
from structdiff.cli import app
from structdiff.cli.examples import EXAMPLES
from structdiff.config import Config

pytestmark = pytest.mark.xdist_group("docs")

ROOT = Path(__file__).resolve().parents[2]


class Elements(HTMLParser):
    """The addresses that a page refers to or loads, and the names that can be referred to."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.loads, self.names = [], [], {""}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon"):
            self.loads.append(found["href"])
        elif tag in ("script", "img", "iframe") and found.get("src"):
            self.loads.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Elements]:
    """The built site; a warning, such as a dead link between pages, fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "site" / "build.py", folder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout
    return {
        page: Elements(page.read_text(encoding="utf-8"))
        for page in sorted((folder / "site").rglob("*.html"))
        if page.name != "404.html"
    }


def folder_of(site: dict[Path, Elements]) -> Path:
    return next(page.parent for page in site if page.name == "index.html")


def names_of(site: dict[Path, Elements], page: str) -> set[str]:
    return site[folder_of(site) / page].names


def test_no_link_of_the_site_is_dead(site):
    dead = []
    for page, elements in site.items():
        for link in [*elements.links, *elements.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            names = site[target].names if target in site else {unquote(parts.fragment)}
            if not target.exists() or unquote(parts.fragment) not in names:
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_the_site_loads_nothing_from_elsewhere(site):
    loads = [load for elements in site.values() for load in elements.loads]
    assert [load for load in loads if urlsplit(load).netloc] == []


def keys(section: type[pydantic.BaseModel], before: str = "") -> list[str]:
    """Return every key of the configuration, sections too."""
    found = []
    for name, field in section.model_fields.items():
        found.append(before + name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            found += keys(kind, f"{before}{name}.")
    return found


def test_every_key_of_the_configuration_is_in_the_reference(site):
    assert set(keys(Config)) <= names_of(site, "reference/configuration.html")


def verbs(group, before: str = "structdiff") -> list[str]:
    found = []
    for name, command in group.commands.items():
        found.append(f"{before}-{name}")
        if hasattr(command, "commands"):
            found += verbs(command, f"{before}-{name}")
    return found


def test_every_command_is_in_the_reference_with_an_example(site):
    group = typer.main.get_command(app)
    assert set(verbs(group)) <= names_of(site, "reference/commands.html")
    assert set(group.commands) == {name.split()[0] for name in EXAMPLES}


def test_every_example_names_options_that_exist():
    group = typer.main.get_command(app)
    for examples in EXAMPLES.values():
        for example in examples:
            words = example.split()
            command = group.commands[words[1]]
            if hasattr(command, "commands"):
                command = command.commands[words[2]]
            options = {name for option in command.params for name in option.opts}
            if command.context_settings.get("ignore_unknown_options"):  # passed on to Snakemake
                options |= get_argument_parser()._option_string_actions.keys()
            assert {word for word in words if word.startswith("--")} <= options, example


def test_every_public_function_is_in_the_reference(site):
    names = names_of(site, "reference/python.html")
    assert {f"structdiff.api.{name}" for name in structdiff.__all__ if name[0] != "_"} <= names


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", ["index", "model", "reference/configuration", "reference/python"])
def test_a_page_opens_without_an_error_or_a_request(site, browser, page, width):
    url = (folder_of(site) / f"{page}.html").as_uri()
    opened = browser.open(url, width=width, until="document.querySelector('article h1')")
    assert opened.errors == []
    assert all(request.startswith("file:") for request in opened.requests)
    assert opened.ask("document.documentElement.scrollWidth") <= width


FOUND = """[...document.querySelectorAll('*')].filter(each => each.shadowRoot).flatMap(each =>
  [...each.shadowRoot.querySelectorAll('a')].map(link => link.href))"""
"""The links of what the search has found."""


@pytest.mark.browser
def test_the_search_works_from_files_and_without_a_network(site, browser):
    folder = folder_of(site)
    opened = browser.open((folder / "index.html").as_uri(), until="document.querySelector('h1')")
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.call("Network.emulateNetworkConditions", session=opened.session, **offline)
    opened.ask("document.querySelector('.md-search__button').click()")
    opened.wait("document.activeElement.shadowRoot?.activeElement")  # the field
    browser.call("Input.insertText", session=opened.session, text="generation.shard_size")
    opened.wait(f"({FOUND}).length")
    first = urlsplit(opened.ask(FOUND)[0])
    assert first.path.endswith("/reference/configuration.html")
    assert first.fragment == "generation.shard_size"
    assert opened.errors == []
    assert all(request.startswith("file:") for request in opened.requests)


MARKDOWN = [
    *("README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("config/README.md", ".github/SECURITY.md"),
]


def slug(heading: str) -> str:
    """Return the anchor that a heading has on the common hosts of repositories."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", MARKDOWN)
def test_no_link_of_a_readme_is_dead(name):
    path = ROOT / name
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = path.parent / parts.path if parts.path else path
        if not target.exists():
            dead.append(link)
        elif parts.fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            if parts.fragment not in map(slug, headings):
                dead.append(link)
    assert dead == []


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_both_readmes_give_the_same_commands(name):
    def blocks(file: str) -> list[str]:
        found = re.findall(r"```(?:bash|python)\n(.*?)```", (ROOT / file).read_text(), re.S)
        return [re.sub(r"\s+#.*", "", block) for block in found]

    assert blocks(name) == blocks("README.md")
