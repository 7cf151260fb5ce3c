# `make demo` and `make test` need only Python ≥ 3.11, git and make: each installs what it needs
# into .venv first, once. `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local
PIP := pip --disable-pip-version-check --no-input

.PHONY: help install demo smoke test test-workflow test-slurm test-gpu lint format docs schema lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

install: $(INSTALLED)  ## create .venv with the pinned packages

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "StructDiff needs Python 3.11 or newer; say which: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/$(PIP) install --quiet --progress-bar off -r requirements.lock
	$(BIN)/$(PIP) install --quiet --no-deps -e .
	@touch $@

demo: $(INSTALLED)  ## the whole pipeline on real peptides, 3½ to 6 minutes on two cores
	$(SNAKEMAKE)
	@echo "The report: results/demo/report.html"

smoke: $(INSTALLED)  ## the whole pipeline in about a minute
	$(SNAKEMAKE) --configfile config/smoke.yaml

test: $(INSTALLED)  ## the quick tests, about 6 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not (workflow or browser or slurm)'

test-workflow: $(INSTALLED)  ## the tests that run the whole workflow, kill its processes, or need a browser
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m 'workflow or browser'

test-slurm: $(INSTALLED)  ## the tests on a SLURM that they start; as root, with slurm-wlm and munge
	$(BIN)/python -m pytest -m slurm tests/slurm

test-gpu: $(INSTALLED)  ## the tests that compute on a GPU, and on two for NCCL where they are there
	$(BIN)/python -m pytest -m gpu

lint: $(INSTALLED)  ## style and types of the code, style of the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(INSTALLED)  ## bring code and workflow into that style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

docs: $(INSTALLED)  ## the documentation as a site, in build/site
	PYTHONPATH=. $(BIN)/python docs/site/build.py build
	@echo "The site: build/site/index.html"

schema: $(INSTALLED)  ## write workflow/schemas/config.schema.json from structdiff/config.py
	$(BIN)/python tests/workflow/test_schema.py

lock:  ## resolve the dependencies again: requirements.lock and environment.yml
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/$(PIP) install --quiet '.[dev]'
	build/lock/bin/pip freeze --all --exclude structdiff --exclude pip | sed 's/+.*//' \
	  | grep -vE '^(nvidia-(cu|nc|nv)|triton|cuda)' | sort -f > build/pins
	{ sed -n '/^#/p' requirements.lock; cat build/pins; } > build/requirements.lock
	{ sed '/^      - /d' environment.yml; sed 's/^/      - /' build/pins; } > build/environment.yml
	mv build/requirements.lock build/environment.yml .

clean:  ## remove results and caches (the environment stays)
	rm -rf results resources .snakemake .pytest_cache .ruff_cache .mypy_cache build
