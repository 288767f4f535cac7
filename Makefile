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

help: ## print this list
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

demo: $(VENV)/.installed ## install, train 15 runs on the CPU, answer whether more blocks help (about four minutes)
	@mkdir -p $(DEMO)
	$(BIN)/hlbq run --db $(DEMO)/hlbq.db --output $(DEMO)/results.csv --name demo $(DEMO_SWEEP) --device cpu --workers 2
	$(BIN)/hlbq plot $(DEMO)/figure.png --difference --x tokens --db $(DEMO)/hlbq.db
	@echo "the figure is $(DEMO)/figure.png, the table $(DEMO)/results.csv; do more blocks help?"
	$(BIN)/hlbq compare --db $(DEMO)/hlbq.db

test: lint ## install, lint, check types, run the tests; print the ten slowest
	@$(MAKE) --no-print-directory -j 2 types unit

lint: $(VENV)/.installed-dev ## check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## format everything, and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## check types with mypy --strict
	$(BIN)/mypy

unit: $(VENV)/.installed-dev ## run the tests of `make test` only
	# One thread a test: two that share two cores wait for each other more than they compute. Three tests: one waits.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=10

test-long: $(VENV)/.installed-dev ## run the full version of what `make test` shortens: studies, demos, long sweeps
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -n 2 --dist loadfile --durations=10

test-browser: $(VENV)/.installed-dev ## test the dashboard in a real Chromium (three minutes; needs the system's chromium)
	$(BIN)/python -m pytest -m browser tests/browser

test-hosts: $(VENV)/.installed-dev ## test several hosts and cut cables, in network namespaces (two minutes; needs root)
	$(BIN)/python -m pytest tests/hosts/several_hosts.py

# Ray's servers listen on every address of the machine: they get a network of their own, with the loopback alone.
test-ray: $(VENV)/.installed-dev ## test on a small Ray cluster in a network namespace (needs root)
	unshare --net sh -c 'ip link set lo up && exec $(BIN)/python -m pytest tests/ray_cluster'

# Its daemons listen on the loopback interface alone.
test-slurm: $(VENV)/.installed-dev ## test on a Slurm cluster of one node (needs root, and Slurm's and munge's daemons)
	$(BIN)/python -m pytest tests/slurm

faults: $(VENV)/.installed-dev ## run the long fault suite (hours; after a stop it goes on where it was)
	$(BIN)/python -m tests.faults.suite

# What the benchmarks compare with: the extra `bench`, which does not fit beside what constraints.txt pins.
PEERS := .venv-peers
BENCH_EXTRA := import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])
$(PEERS)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c '$(BENCH_EXTRA)') \
		&& touch $@ || echo "without these, the benchmarks report their peers as missing"

bench: $(VENV)/.installed-dev $(PEERS)/.installed ## run the benchmarks
	$(BIN)/python -m benchmarks.all

# Each keeps what it measured; one that fails stops none of the others.
bench-gpu: $(VENV)/.installed-dev ## run the benchmarks of training, on a GPU
	-$(BIN)/python -m benchmarks.train_gpu step
	-$(BIN)/python -m benchmarks.train_gpu run
	-$(BIN)/python -m benchmarks.train_gpu parity

clean: ## remove what was installed and built
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache demo-results
