# `make help` lists the targets. Each works alone on a fresh machine that has python3 (with venv): it makes .venv and
# installs what it needs there first, and again when pyproject.toml has changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BENCHMARKS = $(filter-out benchmarks/harness.py benchmarks/_%,$(wildcard benchmarks/*.py))
PYTEST = $(VENV)/bin/python -m pytest -n 2

.PHONY: help demo test test-slow check bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.installed ## trains a small CLIP and a small DALL-E on drawn shapes and shows what they do
	@$(VENV)/bin/python scripts/demo.py

test: $(VENV)/.installed-dev ## the fast tests
	@$(PYTEST)

test-slow: $(VENV)/.installed-dev ## all tests, the slow ones too
	@$(PYTEST) -m 'slow or not slow'

check: $(VENV)/.installed-dev ## format, lint, types and the fast tests
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright
	@$(PYTEST)

bench: $(VENV)/.installed-bench ## every benchmark, the quick way; tables here, numbers in benchmarks/results/NAME.quick.json
	@for file in $(BENCHMARKS); do echo "== $$file"; $(VENV)/bin/python "$$file" --quick; done

clean: ## removes .venv and what the tools left behind; keeps runs/, shards/ and downloads/
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find calligram tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps say which extras have been installed since pyproject.toml last changed.
$(VENV)/.installed: EXTRAS =
$(VENV)/.installed-dev: EXTRAS = [dev]
$(VENV)/.installed-bench: EXTRAS = [bench]

# pip names each library as it comes, since torch alone takes minutes; the rest of its talk is left out, errors are not
$(VENV)/.installed $(VENV)/.installed-dev $(VENV)/.installed-bench: pyproject.toml | $(VENV)/bin/pip
	@echo 'Installing calligram$(EXTRAS) into $(VENV): several GB with torch, which takes minutes the first time'
	@PYTHONUNBUFFERED=1 $(VENV)/bin/pip install --disable-pip-version-check -e '.$(EXTRAS)' \
		| grep --line-buffered -oE '^(Collecting [^ ]+|Installing collected packages|Successfully installed)'
	@touch $@ $(VENV)/.installed  # every extra brings the core along

$(VENV)/bin/pip:
	@command -v $(PYTHON) >/dev/null || { echo 'make: $(PYTHON) not found; name another: make PYTHON=python3.11'; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.11"; \
		exit 1; } >&2
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo 'make: $(PYTHON) lacks venv or ensurepip; on Debian and Ubuntu: apt install python3-venv'; exit 1; } >&2
	@echo 'Making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
