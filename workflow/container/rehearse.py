"""Execute the steps of both images in fresh Debian roots, where there is no container engine.

``python3 workflow/container/rehearse.py FOLDER``, as root, in the top folder of a checkout, on
Debian with debootstrap and a network. Every COPY and RUN of the Dockerfile, and %files, %post and
%test of the Apptainer definition, is executed in a root of its own below ``FOLDER`` (about 8 GB
each), and what the image starts runs there as its user. In place of the image ``python:3.11``
there is Debian's own Python 3.11.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from string import Template

RECIPES = Path("workflow/container")
INCLUDED = "python3,python3-venv,ca-certificates"
MIRROR = "http://deb.debian.org/debian"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHARED = ("/etc/resolv.conf", "/etc/ssl/certs")
"""What the roots have of this machine: its name servers and certificates."""

ENTER = """set -eu
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for path in $SHARED; do
  [ -e "$root$path" ] || touch "$root$path"
  mount --bind "$(realpath "$path")" "$root$path"
done
exec chroot "$@"
"""


def tracked(name: str) -> list[Path]:
    """Return the files of the checkout below a path."""
    command = ["git", "ls-files", "--", name]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    return [Path(line) for line in listed.stdout.splitlines()]


class Root:
    """A root of Debian in which an image is made."""

    def __init__(self, folder: Path, base: Path):
        self.folder, self.variables, self.user, self.at = folder, {"PATH": PATH}, "0", Path("/")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base), str(folder)], check=True)

    def inside(self, path: str) -> Path:
        """Return where a path of the image is on this machine."""
        return self.folder / str(self.at / path).lstrip("/")

    def copy(self, sources: list[str], target: str) -> None:
        """Copy files of the checkout, as COPY and %files do."""
        for source in sources:
            into = self.inside(target)
            for path in tracked(source):
                if Path(source).is_dir():
                    place = into / path.relative_to(source)
                else:
                    place = into / path.name if target.endswith("/") else into
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)

    def run(self, command: str) -> None:
        """Execute a command of the shell in the image, as its user."""
        start = time.monotonic()
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        variables = [f"{name}={value}" for name, value in {**pip, **self.variables}.items()]
        inside = [f"--userspec={self.user}", str(self.folder), "env", "-i", *variables]
        inside += ["/bin/sh", "-c", f"cd {shlex.quote(str(self.at))} && {command}"]
        enter = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", ENTER, "enter"]
        subprocess.run(
            [*enter, str(self.folder), *inside],
            check=True,
            env={**os.environ, "SHARED": " ".join(SHARED)},
        )
        print(f"-- {time.monotonic() - start:.0f} s: {command}", flush=True)


def docker(folder: Path, base: Path) -> Root:
    """Execute the Dockerfile; return its last stage."""
    text = re.sub(r"\\\n\s*", "", (RECIPES / "Dockerfile").read_text(encoding="utf-8"))
    stages: dict[str, Root] = {}
    start: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            name = rest.split(" AS ")[1] if " AS " in rest else "last"
            root = stages[name] = Root(folder / name, base)
        elif word in ("ARG", "ENV"):
            name, _, value = rest.partition("=")
            root.variables[name] = Template(value.strip('"')).substitute(root.variables)
        elif word == "WORKDIR":
            root.at = Path(rest)
            root.inside(".").mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and rest.startswith("--from="):
            stage, source, target = rest.removeprefix("--from=").split()
            paths = [str(stages[stage].inside(source)), str(root.inside(target))]
            subprocess.run(["cp", "--archive", *paths], check=True)
        elif word == "COPY":
            *sources, target = rest.split()
            root.copy(sources, target)
        elif word == "RUN":
            root.run(rest)
        elif word == "USER":
            root.user = rest
        elif word in ("ENTRYPOINT", "CMD"):
            start[word] = re.findall(r'"([^"]*)"', rest)
        elif word and word != "#":
            sys.exit(f"{word}: an instruction that this script does not know")
    root.run(shlex.join(start["ENTRYPOINT"] + start["CMD"]))
    return root


def apptainer(folder: Path, base: Path) -> Root:
    """Execute the definition for Apptainer; return its root, with the user of Docker's."""
    text = (RECIPES / "structdiff.def").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^%(\w+)\n((?:    .*\n|\n)*)", text, re.M))
    for name, value in re.findall(r"(\w+)=(.*)", sections["arguments"]):
        sections = {key: part.replace(f"{{{{ {name} }}}}", value) for key, part in sections.items()}
    root = Root(folder / "apptainer", base)
    for line in sections["files"].splitlines():
        if line.strip():
            source, target = line.split()
            root.copy([source], target)
    root.run(f"set -e\n{sections['post']}")
    root.user = "1000"
    root.run(f"{sections['environment']}\n{sections['test']}")
    root.run(f"{sections['environment']}\nset -- --help\n{sections['runscript']}")
    return root


def main(folder: Path) -> None:
    """Make both images, and start a smoke run in the image of the Dockerfile."""
    base = folder / "base"
    if not base.is_dir():
        command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm"]
        subprocess.run([*command, str(base), MIRROR], check=True)
    root = docker(folder, base)
    root.run("structdiff init x --config smoke && cd x && structdiff run && ls -l results/*/*.html")
    apptainer(folder, base)
    print("Every step of both images was executed.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
