# Geometry OS. `make` lists the targets; docs/operations.md says more.
#
# Everything runs in .venv, made with PYTHON (at least 3.11) and with the versions of
# constraints.txt. It is made anew only when pyproject.toml or constraints.txt has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
NEEDED_MB := 2500

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt
NOT_TESTS := not system and not bench and not soak

.PHONY: help run test coverage check format test-system bench pictures soak wheels install uninstall lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## run everything in the foreground and print the page's address
	@exec $(BIN)/geoosd up $(ARGS)

test: $(VENV)/.dev ## the whole suite that needs no root
	@$(BIN)/python -m pytest -m "$(NOT_TESTS)" $(ARGS)

CORES := geoosd/wire,geoosd/gguf,geoosd/bridge/core,geoosd/compositor/core,geoosd/broadcaster/core,$\
	geoosd/control/core,geoosd/engine/core,geoosd/structure

coverage: $(VENV)/.dev ## the pure cores: every branch has a test
	@$(BIN)/coverage run --branch --source $(CORES) \
		-m pytest --quiet --hypothesis-seed=0 tests/unit tests/property
	@$(BIN)/coverage report --fail-under=100

check: $(VENV)/.dev ## lint, types, import contracts, docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --quiet tests/policy
	@$(BIN)/geoosctl structure --baseline docs/health/baseline.json .

format: $(VENV)/.dev ## format, and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test-system: $(VENV)/.dev ## as root: the installed units in a throw-away systemd
	@$(BIN)/python -m pytest -m system tests/system $(ARGS)

bench: $(VENV)/.bench ## benchmarks beside peers: a table and bench.json; ARGS=--quick for a minute
	@$(BIN)/python tests/bench/run.py $(ARGS)

pictures: $(VENV)/.dev ## docs/images: every view, from a real model's session; some minutes
	@$(PIP) -e '.[engine,pictures]'
	@$(BIN)/python docs/pictures/make.py $(ARGS)

soak: $(VENV)/.dev ## the long runs: thousands of failing requests leave nothing behind
	@$(BIN)/python -m pytest -m soak --timeout 3600 tests $(ARGS)

# With DESTDIR= nothing of the running system is touched. The network is needed by `wheels` alone.
wheels: ## build/wheels: what `make install` puts into /opt/geoos
	@units/install.sh wheels

install: ## as root: /opt/geoos and the systemd units
	@units/install.sh install

uninstall: ## as root: remove what install put there, keep the data
	@units/install.sh uninstall

lock: $(VENV)/.dev ## make constraints.txt anew from pyproject.toml
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --quiet \
		--universal --all-extras --strip-extras --python-version 3.11 --upgrade \
		--no-emit-index-url --output-file constraints.txt

clean: ## remove .venv and what the tools left behind
	@rm -rf $(VENV) build dist reports htmlcov .coverage
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.run: $(INPUTS) | $(VENV)/.made
	@echo "installing into $(VENV) (the first time: a few minutes)"
	@$(PIP) -e '.[engine]'
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/.made
	@echo "installing into $(VENV), with the tools for tests and checks"
	@$(PIP) -e '.[engine,structure,video,dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: $(INPUTS) | $(VENV)/.made
	@echo "installing into $(VENV), with the peers of the benchmarks"
	@$(PIP) -e '.[engine,bench]'
	@touch $@

# Each prerequisite that a fresh machine may lack is named with its remedy. Debian keeps ensurepip
# in python3-venv; without it, `python3 -m venv` leaves a broken directory behind.
$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "cannot find $(PYTHON); install it:" \
		"sudo apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "cannot use $$($(PYTHON) --version): geoos needs Python 3.11 or newer; take Debian 12," \
		"Ubuntu 24.04 or newer, or name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "cannot make $(VENV): Python's venv" \
		"is missing; install it: sudo apt install python3-venv" >&2; exit 1; }
	@free=$$(df -Pm . | awk 'NR == 2 { print $$4 }'); [ "$$free" -ge $(NEEDED_MB) ] || { \
		echo "cannot make $(VENV): $$free MB free on this disk, $(NEEDED_MB) MB are needed;" \
		"make room, or clone to another disk" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
