# Thin calls of `python -m bench`; every target sets up .venv on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= results
PERF ?= .benchmarks
BASELINE := tests/perf/baseline
export OMP_NUM_THREADS ?= 1

.PHONY: FORCE help setup run report results test lowest clients perf efficiency gate gate-baseline lint format wheel docs clean

help:
	@echo "make run      set up and run the main job: om2p and dom2, 5 seeds, then the report"
	@echo "make report   write the report of $(OUT) into reports/out"
	@echo "make results  write the published page of $(OUT) into docs/results, and the README's part of it"
	@echo "make test     set up and run the tests"
	@echo "make lowest   run the tests with the lowest versions that pyproject.toml allows"
	@echo "make clients  run the examples of docs/clients.md with the real libraries"
	@echo "make perf     run the benchmarks in tests/perf, into $(PERF)/perf.json"
	@echo "make efficiency   measure everything in docs/efficiency.md again, into $(EFFICIENCY): hours"
	@echo "make gate     compare the exact costs of every algorithm with the committed baseline"
	@echo "make lint     ruff and mypy"
	@echo "make docs     build the documentation as a site into build/site; a broken link is an error"
	@echo "make wheel    build the wheel into dist, with kernels for x86-64 v3 and v4 where cc can"

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

# The page of results on the site: from OUT=results, or from the shipped rows with OUT=reference.
results: $(STAMP)
	$(BIN)/python -m bench report --out $(OUT) --site docs/results
	$(BIN)/python docs/site/answer.py

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile

# The lowest versions that pyproject.toml allows, in an environment of their own. What tests need
# raises some of them (gymnasium, pettingzoo), so one file is repeated below that.
LOWEST := .venv-lowest
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[test]'
	$(LOWEST)/bin/python -m bench doctor
	$(LOWEST)/bin/python -m pytest -n auto --dist loadfile -m "not slow"
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --no-deps $(shell sed -n 's/^ *"\(gymnasium\|pettingzoo\)>=\(.*\)",/\1==\2/p' pyproject.toml)
	$(LOWEST)/bin/python -m pytest tests/datasets/test_team_env.py

# The examples of docs/clients.md with the real libraries: one that is missing fails. They ask for
# versions that exclude each other (d3rlpy pins gymnasium 1.0.0), so each is added without them.
clients: $(STAMP)
	$(BIN)/pip install --quiet --no-deps -r tests/clients.txt
	npm install --silent --no-save --ignore-scripts --prefix $(VENV)/node onnxruntime-node@1.30.0
	OM2P_BENCH_CLIENTS=1 NODE_PATH="$(CURDIR)/$(VENV)/node/node_modules" $(BIN)/python -m pytest -rs tests/test_clients.py tests/datasets/test_exporting.py

perf: $(STAMP)
	@mkdir -p $(PERF)
	$(BIN)/python -m pytest tests/perf --benchmark-only --benchmark-max-time=0.5 --benchmark-json=$(PERF)/perf.json

# What docs/efficiency.md is made of: hours, on a machine that does nothing else meanwhile.
MEASURE = $(BIN)/python -m bench measure
EFFICIENCY ?= $(PERF)/efficiency
efficiency: $(STAMP)
	@mkdir -p $(EFFICIENCY)
	$(BIN)/python -m tests.perf.kernels | tee $(EFFICIENCY)/kernels.md
	$(BIN)/python -m pytest tests/perf/test_goals.py --benchmark-only | tee $(EFFICIENCY)/goals.txt
	$(MEASURE) --algos all --to $(EFFICIENCY)/efficiency.json
	$(MEASURE) --algos om2p,dom2 --agents 3,6,12,24 --batch 256,1024 --hidden 256x2,64x2,512x2 --to $(EFFICIENCY)/growth.json
	$(MEASURE) --algos om2p,dom2 --preset quick --kernels torch,c --replicas 1,5 --to $(EFFICIENCY)/variants.json
	$(MEASURE) --algos om2p,om2p-jvp,om2p-batch-jacobian,dom2,diffusion-ql,edp,dof --preset paper --to $(EFFICIENCY)/paper.json

# Exact costs alone. That a benchmark failed stands in the file, so the comparison decides.
COSTS := $(PERF)/costs.json
$(COSTS): $(STAMP) FORCE
	@mkdir -p $(PERF) && rm -f $@
	-$(BIN)/python -m pytest tests/perf --benchmark-only --costs-only --benchmark-quiet --benchmark-json=$@

gate: $(COSTS)
	$(BIN)/python -m bench compare $(BASELINE) $(COSTS) $(GATE)

gate-baseline: $(COSTS)
	$(BIN)/python -m bench compare $(BASELINE) $(COSTS) --refresh

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(STAMP)
	$(BIN)/python -m algorithms.kernels.prebuild
	$(BIN)/python -m build --wheel

DOCS := $(VENV)/.docs
$(DOCS): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS)
	$(BIN)/python docs/site/build.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
