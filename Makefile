# Every target sets up .venv by itself. PYTHON=... chooses the interpreter (3.11 or newer).
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow bench accuracy lint format docs clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

# A name on the path may be a shim for an interpreter that is not there, so each candidate is asked.
$(STAMP): pyproject.toml constraints.txt
	@set -e; found=; \
	for python in $(PYTHON) python3.12 python3.11 python3 python; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "No Python 3.11 or newer found: name one with make PYTHON=/path/to/python" >&2; exit 1; fi; \
	test -x $(BIN)/python || "$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev,validation]'
	@touch $@

setup: $(STAMP) ## create .venv with the locked dependencies

demo: $(STAMP) ## fit a made-up protein into its map and show the result beside the known truth
	rm -rf demo
	$(BIN)/bayesflex demo -o demo

test: $(STAMP) ## run the fast tests
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP) ## run the slow tests
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS) || { code=$$?; [ $$code -eq 5 ] || exit $$code; }

bench: $(STAMP) ## measure the kernels against what the machine can do; writes docs/performance.md
	$(BIN)/python -m benchmarks --compilation -o docs

accuracy: $(STAMP) ## fit cases with known answers (needs BAYESFLEX_DATA; hours); keeps benchmarks/results/accuracy.csv
	$(BIN)/python -m benchmarks.accuracy --missing --page docs/accuracy.md

lint: $(STAMP) ## check style, types and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## build the pages under docs/ into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean: ## remove what the other targets made, the environment too
	rm -rf $(VENV) demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
