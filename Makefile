# Everything installs into .venv from this folder's own files: pyproject.toml and constraints.txt.
VENV := .venv
BIN := $(VENV)/bin
# The newest Python from 3.11 on that is on the PATH; `make PYTHON=... demo` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types unit test-browser test-slurm test-hosts test-ray faults bench bench-gpu clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   install, run a small real sweep on the CPU, draw its figure (about five minutes)"
	@echo "make test   install, lint, check types, run the tests"
	@echo "make test-browser the dashboard in a real Chromium (three minutes; wants the system's chromium)"
	@echo "make test-hosts several hosts in network namespaces, cables cut (needs root; two minutes)"
	@echo "make test-ray the tests on a small Ray cluster (as root: in a network namespace)"
	@echo "make test-slurm the tests on a Slurm cluster of one node (as root, with Slurm's and munge's daemons installed)"
	@echo "make faults the long fault suite (under an hour); make bench the benchmarks, make bench-gpu those of training on a GPU"

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

# A real sweep: 2 depths x 2 head counts x 2 seeds on the source code of Python's standard library.
DEMO := demo-results
DEMO_SETTINGS := --dataset pystdlib --tokenizer bytes --depth 2 3 --width 128 --num_heads 1 2 --num_runs 2 \
	--max_sequence_length 256 --gpu_capacity_scalar 0.02 --lr_mult 0.5 --max_microbatches 2 \
	--num_eval_tokens 16384 --max_steps 200 --eval_every 20

demo: $(VENV)/.installed
	@mkdir -p $(DEMO)
	$(BIN)/hlbq run --db $(DEMO)/hlbq.db --output $(DEMO)/results.csv --name demo $(DEMO_SETTINGS) --device cpu --workers 2
	$(BIN)/hlbq status --db $(DEMO)/hlbq.db
	$(BIN)/hlbq plot $(DEMO)/figure.png --db $(DEMO)/hlbq.db
	@echo "look at $(DEMO)/figure.png and $(DEMO)/results.csv"

test: lint types unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	# One thread a test: two that share two cores wait for each other more than they compute.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-browser: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m browser tests/browser

test-hosts: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/hosts/several_hosts.py

# Ray's servers listen on every address of the machine: they get a network of their own, with the loopback alone.
test-ray: $(VENV)/.installed-dev
	unshare --net sh -c 'ip link set lo up && exec $(BIN)/python -m pytest tests/ray_cluster'

# Its daemons listen on the loopback interface alone.
test-slurm: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/slurm

faults: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults.suite

# What the benchmarks compare with: the extra `bench`, which does not fit beside what constraints.txt pins.
PEERS := .venv-peers
BENCH_EXTRA := import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])
$(PEERS)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c '$(BENCH_EXTRA)') \
		&& touch $@ || echo "without these, the benchmarks report their peers as missing"

bench: $(VENV)/.installed-dev $(PEERS)/.installed
	$(BIN)/python -m benchmarks.all

# Each keeps what it measured; one that fails stops none of the others.
bench-gpu: $(VENV)/.installed-dev
	-$(BIN)/python -m benchmarks.train_gpu step
	-$(BIN)/python -m benchmarks.train_gpu run
	-$(BIN)/python -m benchmarks.train_gpu parity

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache demo-results
