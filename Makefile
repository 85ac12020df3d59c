# Thin calls of `python -m bench`; every target sets up .venv on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= results
export OMP_NUM_THREADS ?= 1

.PHONY: help setup run report test perf lint format clean

help:
	@echo "make run      set up and run the main job: om2p and dom2, 5 seeds, then the report"
	@echo "make report   write the report of $(OUT) into reports/out"
	@echo "make test     set up and run the tests"
	@echo "make perf     run the benchmarks in tests/perf"
	@echo "make lint     ruff and mypy"

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no python3 found; install Python 3.11, or name one with: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(STAMP)

run: $(STAMP)
	$(BIN)/python -m bench run --algos om2p,dom2 --seeds 5 --out $(OUT)
	$(BIN)/python -m bench report --out $(OUT)

report: $(STAMP)
	$(BIN)/python -m bench report --out $(OUT)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile

perf: $(STAMP)
	$(BIN)/python -m pytest tests/perf --benchmark-only

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
