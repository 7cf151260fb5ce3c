"""The places that name the environment's packages agree with each other."""

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import structdiff

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")


def locked() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = [line for lines in project["optional-dependencies"].values() for line in lines]
    requirements = [Requirement(line) for line in project["dependencies"] + extra]
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def test_the_lock_holds_exact_pins_only():
    pins = locked()
    assert [pin for pin in pins if not PIN.match(pin)] == []
    names = [canonicalize_name(pin.split("==")[0]) for pin in pins]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("requirement", wanted(), ids=str)
def test_the_lock_satisfies_the_project(requirement):
    versions = dict(pin.split("==") for pin in locked())
    versions = {canonicalize_name(name): version for name, version in versions.items()}
    name = canonicalize_name(requirement.name)
    assert name in versions, f"{name} is not in requirements.lock; run `make lock`"
    assert requirement.specifier.contains(versions[name])


def licences(name: str) -> list[str]:
    """Return each licence that an installed package states."""
    fields = metadata(name)
    stated = [fields.get("License-Expression"), (fields.get("License") or "").split("\n")[0]]
    stated += fields.get_all("Classifier", [])
    return [line for line in stated if line and ("GPL" in line or "Licen" in line or "BSD" in line)]


def test_no_package_of_the_lock_is_under_the_gpl():
    under_it = {}
    for pin in locked():
        found = licences(pin.split("==")[0])
        gpl = [line for line in found if re.search("(?<!L)GPL", line) and "Lesser" not in line]
        if gpl and gpl == found:  # docutils gives a choice
            under_it[pin] = found
    assert under_it == {}


def test_the_development_extra_has_all_others():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (own,) = [Requirement(line) for line in extras["dev"] if line.startswith("structdiff[")]
    assert own.extras == extras.keys() - {"dev"}
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == extras.keys()


def test_the_conda_environment_has_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": locked()}
    python = next(item for item in conda if item.startswith("python="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = Requirement(f"python{project['requires-python']}").specifier
    assert supported.contains(python.removeprefix("python="))


def test_the_same_python_versions_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    classified = [
        item.removeprefix("Programming Language :: Python :: ")
        for item in project["classifiers"]
        if item.startswith(prefix)
    ]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    check = workflow["jobs"]["check"]
    matrix = check["strategy"]["matrix"]
    assert matrix["python"] == classified
    assert f">={classified[0]}" == project["requires-python"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {"lint", "test", "test-workflow", "smoke"} == set(matrix["target"]) <= set(targets)
    assert check["steps"][-1] == {"run": "make ${{ matrix.target }}"}


def test_the_package_has_one_version_and_one_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"] == structdiff.__version__
    assert citation["license"] == project["license"]
    assert f"## [{structdiff.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_hooks_run_installed_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert tools <= {canonicalize_name(requirement.name) for requirement in wanted()}


def test_both_images_install_the_wheel_from_the_same_files():
    docker, apptainer = (
        (ROOT / "workflow" / "container" / name).read_text()
        for name in ("Dockerfile", "structdiff.def")
    )
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", docker, re.M)
    files = {name for line in copied for name in line.split()}
    assert files == set(re.findall(r"^    (\S+) /source/\1$", apptainer, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {name.split("/")[0] for name in included} <= files
    assert all("sh workflow/container/install.sh" in image for image in (docker, apptainer))
    base = [re.search(r"python:\S+", image)[0] for image in (docker, apptainer)]
    assert base[0] == base[1]
    assert re.findall(r"^USER (\S+)$", docker, re.M) == ["1000"]
