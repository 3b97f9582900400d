# One word each; every word works on a fresh machine with Python 3.11+, git and make, and installs what it needs.
#   make demo   the whole pipeline on a sample project, while you watch    (ARGS="--chaos" and so on)
#   make up     the fleet on this machine                                  (ARGS="--port 8000")
#   make test   the test suite                                             (ARGS="tests/unit -k decide")
#   make soak   minutes-long runs: kill -9 of every kind of process while the demo's story is told
#   make chaos  the real fleet under a seeded adversary; then the judge     (MINUTES=3 SEED=1)
#   make schedules  actors over a real Postgres, one step at a time, in thousands of orders   (COUNT=5000 SEED=1)
#   make mutants  one protection after the other is taken out; which test goes red?   (ARGS="--only lease-by-age")
#   make model  the ownership protocol, explored by Spin                   (MODE=ci, quick or full)
#   make intake-load   200 deliveries a second for a minute while the stores die   (ARGS="--rate 50")
#   make matrix every step boundary of every effect crossed with every fault; writes docs/crash-matrix.md
#   make crash  the part of the matrix that stops a Postgres of its own
#   make lint   style, types, layers and the project's own rules
#   make bench  the figures that documents quote

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MODE ?= quick
# Two workers fit two cores; the tests wait for processes more than they compute.
TEST_WORKERS ?= 2
MINUTES ?= 3
SEED ?= 1
# Bounded schedules of two actors; a fifth as many random ones of three come on top.
COUNT ?= 5000
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo up test soak chaos schedules mutants model matrix crash lint format bench clean intake-load
.SILENT:

help:
	sed -n 's/^#   //p' Makefile

# Two stamps: running needs less than developing, and the first `make demo` should not wait for type stubs.
$(VENV)/.ready-to-run: setup.cfg pyproject.toml tools/install.sh
	bash tools/install.sh $(VENV) '.[embedded]' $@

$(VENV)/.ready-to-develop: setup.cfg pyproject.toml tools/install.sh
	bash tools/install.sh $(VENV) '.[embedded,test,lint]' $@

demo: $(VENV)/.ready-to-run
	$(BIN)/orch demo $(ARGS)

up: $(VENV)/.ready-to-run
	$(BIN)/orch up $(ARGS)

test: $(VENV)/.ready-to-develop
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadscope $(ARGS)

soak: $(VENV)/.ready-to-develop
	$(BIN)/python -m pytest -m soak $(ARGS)

chaos: $(VENV)/.ready-to-develop
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

schedules: $(VENV)/.ready-to-develop
	$(BIN)/python -m tests.schedules --count $(COUNT) --seed $(SEED) $(ARGS)

mutants: $(VENV)/.ready-to-develop
	$(BIN)/python -m tools.mutants $(ARGS)

# Needs spin and gcc of the operating system, and no virtual environment: says so, and installs nothing.
model:
	bash docs/model/check.sh $(MODE)
intake-load: $(VENV)/.ready-to-develop
	$(BIN)/python -m benchmarks.intake_load $(ARGS)
matrix: $(VENV)/.ready-to-develop
	CRASH_MATRIX_PAGE=docs/crash-matrix.md $(BIN)/python -m pytest tests/crash -m matrix -q -n $(TEST_WORKERS) $(ARGS)

crash: $(VENV)/.ready-to-develop
	CRASH_MATRIX_PAGE=docs/crash-matrix.md $(BIN)/python -m pytest tests/crash -m crash_fleet -q $(ARGS)

lint: $(VENV)/.ready-to-develop
	PATH="$(CURDIR)/$(BIN):$$PATH" bash tools/lint.sh

format: $(VENV)/.ready-to-develop
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.ready-to-develop
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
