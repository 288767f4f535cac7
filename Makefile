# Everything installs into .venv from this folder's own files: pyproject.toml and constraints.txt.
VENV := .venv
BIN := $(VENV)/bin
# The newest Python from 3.11 on that is on the PATH; `make PYTHON=... demo` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

# Tests start hundreds of programs. Where Python may not keep what it compiled, each of them compiles its libraries again.
unexport PYTHONDONTWRITEBYTECODE

# The targets for people: each has `## what it does` beside it, and so is phony and a line of `make help`.
MARK := \#\#
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*$(MARK) .*/\1/p' Makefile)
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*$(MARK) \(.*\)/make \1|\2/p' Makefile | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer on the PATH. Install one, or: make PYTHON=/path/to/python3.11 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing hlbq and its libraries into $(VENV) (about a minute)"
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) --editable '.[dev]'
	@sync # gigabytes are on their way to the disk, and tests wait for it with limits
	@touch $@

# A real question: do a second and a third block help? Five seeds each decide it: the effect is large.
DEMO := demo-results
DEMO_SWEEP := --preset tiny-cpu --depth 1 2 3 --num_runs 5

demo: $(VENV)/.installed ## install, ask whether more blocks help, train on the CPU, draw the answer and say it (about four minutes)
	@mkdir -p $(DEMO)
	$(BIN)/hlbq run --db $(DEMO)/hlbq.db --output $(DEMO)/results.csv --name demo $(DEMO_SWEEP) --device cpu --workers 2
	$(BIN)/hlbq plot $(DEMO)/figure.png --difference --x tokens --db $(DEMO)/hlbq.db
	@echo "the figure is $(DEMO)/figure.png, the table $(DEMO)/results.csv; do more blocks help?"
	$(BIN)/hlbq compare --db $(DEMO)/hlbq.db

test: lint ## install, lint, check types beside the tests; print the ten slowest
	@$(MAKE) --no-print-directory -j 2 types unit

lint: $(VENV)/.installed-dev ## ruff: style, and whether everything is formatted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## format everything, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## mypy --strict
	$(BIN)/mypy

unit: $(VENV)/.installed-dev ## the tests of `make test` alone
	# One thread a test: two that share two cores wait for each other more than they compute. Three tests: one waits.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=10

test-long: $(VENV)/.installed-dev ## the whole of what `make test` shortens: studies, demos, long sweeps
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -n 2 --dist loadfile --durations=10

test-browser: $(VENV)/.installed-dev ## the dashboard in a real Chromium (three minutes; wants the system's chromium)
	$(BIN)/python -m pytest -m browser tests/browser

test-hosts: $(VENV)/.installed-dev ## several hosts in network namespaces, cables cut (needs root; two minutes)
	$(BIN)/python -m pytest tests/hosts/several_hosts.py

# Ray's servers listen on every address of the machine: they get a network of their own, with the loopback alone.
test-ray: $(VENV)/.installed-dev ## the tests on a small Ray cluster (as root: in a network namespace)
	unshare --net sh -c 'ip link set lo up && exec $(BIN)/python -m pytest tests/ray_cluster'

# Its daemons listen on the loopback interface alone.
test-slurm: $(VENV)/.installed-dev ## the tests on a Slurm cluster of one node (as root, with Slurm's and munge's daemons installed)
	$(BIN)/python -m pytest tests/slurm

faults: $(VENV)/.installed-dev ## the long fault suite (hours; stopped and started again, it goes on)
	$(BIN)/python -m tests.faults.suite

# What the benchmarks compare with: the extra `bench`, which does not fit beside what constraints.txt pins.
PEERS := .venv-peers
BENCH_EXTRA := import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])
$(PEERS)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c '$(BENCH_EXTRA)') \
		&& touch $@ || echo "without these, the benchmarks report their peers as missing"

bench: $(VENV)/.installed-dev $(PEERS)/.installed ## the benchmarks
	$(BIN)/python -m benchmarks.all

# Each keeps what it measured; one that fails stops none of the others.
bench-gpu: $(VENV)/.installed-dev ## the benchmarks of training, on a GPU
	-$(BIN)/python -m benchmarks.train_gpu step
	-$(BIN)/python -m benchmarks.train_gpu run
	-$(BIN)/python -m benchmarks.train_gpu parity

clean: ## remove what was installed and built
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache demo-results
