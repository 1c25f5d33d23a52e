# Everything runs in the project's own virtual environment, made by plain pip on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
SEEDS ?= 0 1 2 3 4
CONFIG ?= configs/quickstart.yaml
KEYS ?=
PARTS ?=
WHEELS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev browser demo picture demo-seeds results lint test test-slow test-lowest bench gpu profile

help:
	@echo "make demo         images -> hidden task -> report, in runs/demo"
	@echo "make test         lint, types, import contracts and the test suite"
	@echo "make test-slow    the tests that take minutes: sweeps on Ray and some launchers"
	@echo "make test-lowest  the tests of all that computes, with the lowest versions that pyproject.toml allows"
	@echo "make demo-seeds   the demo's discovery over several seeds (SEEDS='0 1 2 3 4')"
	@echo "make picture      the picture of README.md, from the demo"
	@echo "make results      the tables of docs/results.md"
	@echo "make bench        every benchmark, one after the other; appends rows to benchmarks/results.csv"
	@echo "make gpu          eight minutes of checks and timings on this machine's GPU: a table, and rows in"
	@echo "                  benchmarks/results.csv (PARTS='kernels step' WHEELS=folder)"
	@echo "make profile      how a training step spends its time: a table and a trace"
	@echo "                  (CONFIG=configs/quickstart.yaml KEYS='key=value')"
	@echo "make lint         ruff, mypy, import contracts"
	@echo "make setup        only the virtual environment (PYTHON=python3.12 picks the interpreter)"

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

# Tests open the report in a real browser. Root installs the distribution's, which brings its system libraries along.
# If no browser can be installed, the tests that need one skip and say so.
browser: $(VENV)/.installed-dev
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq && apt-get install -y -qq chromium; } \
	  || $(BIN)/playwright install chromium \
	  || echo "no browser can be installed here: the tests that open the report will skip"

demo: setup
	$(BIN)/detaux run configs/quickstart.yaml run.dir=runs/demo
	@echo "The report: $(CURDIR)/runs/demo/report/report.html"

picture: demo
	$(BIN)/python benchmarks/readme_picture.py runs/demo

demo-seeds: setup
	$(BIN)/python benchmarks/demo_seeds.py --seeds $(SEEDS)

results: setup
	$(BIN)/python benchmarks/results_table.py

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint browser
	$(BIN)/python -m pytest

# Ray clusters and some launchers: with them the default run would take more than a quarter of an hour.
test-slow: setup-dev
	$(BIN)/python -m pytest -m slow

$(LOWEST)/.installed: pyproject.toml .ci/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python .ci/lowest.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/lowest.txt --editable '.[deepspeed,efficientnet,tensorboard,timm,torchjd,wandb]' pytest hypothesis
	touch $@

# Run the tests of all that reads pictures and computes, which fail if a package is too old. `make test` has the newest
# versions. Tests of commands, sweeps, launchers and reports are left out: they take long and use these packages
# little.
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest $(addprefix tests/,config data disentangle discover losses multitask runtime shards)

bench: setup-dev
	$(BIN)/python benchmarks/bench_stream.py
	$(BIN)/python benchmarks/bench_losses.py
	$(BIN)/python benchmarks/bench_step.py
	$(BIN)/python benchmarks/bench_trainer.py
	$(BIN)/python benchmarks/bench_quickstart.py
	$(BIN)/python benchmarks/bench_tracker.py
	$(BIN)/python benchmarks/bench_memory.py
	$(BIN)/python benchmarks/bench_scaling.py
	$(BIN)/python benchmarks/bench_sweep.py
	$(BIN)/python benchmarks/bench_time_to_factor.py
	$(BIN)/python benchmarks/bench_cluster.py

# Use the virtual environment if there is one. Otherwise use python3 as it is: a machine may have torch but no network.
gpu:
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu.py $(PARTS) $(if $(WHEELS),--wheels $(WHEELS))

profile: setup
	$(BIN)/python benchmarks/profile_step.py $(CONFIG) $(KEYS)
