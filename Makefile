# `make demo` and `make test` do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PEERS := .venv-peers
FOR ?= 0
# Test processes, each with a broker and a database of its own: most tests wait for services most of the time
PROCESSES ?= 4

.PHONY: setup demo test check compiled bench soak evaluate chaos peers clean

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

# Everything at once: broker, database, migrations, topics, workers, a plant. FOR=30 ends after 30 s.
demo: setup
	@$(BIN)/pipeline demo --for $(FOR)

# Every check: style, types, imports, and all tests against a real broker and a real database.
test: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check compiled
	$(BIN)/pytest --numprocesses=$(PROCESSES) --dist=load --maxschedchunk=1 $(PYTEST)

# What every test process would else compile for itself, at the same time: kernels, and modules with rewritten assertions.
# What cannot be collected is said by the tests
compiled: setup
	@$(BIN)/python -c "from agents.starting import warm_up; warm_up()"
	@$(BIN)/pytest --collect-only --quiet $(PYTEST) >/dev/null || true

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Speed and memory, as figures and ratios; JSON in build/bench/. BENCH="latency --seconds 60" picks parts and options.
bench: setup peers
	$(BIN)/python -m benchmarks $(BENCH)

# Two workers, 50,000 sensors, 10,000 messages/s for ten minutes; fails if something lags, is lost or doubled. SOAK="--seconds 60"
soak: setup
	$(BIN)/python -m benchmarks soak $(SOAK)

# Detectors on public data (DATASETS, where they are) and on simulated machines: scores, false alarms, delays, cost.
evaluate: setup
	$(BIN)/python -m benchmarks.evaluation $(EVALUATE)

# The frameworks that are measured beside the pipeline, in an environment of their own.
peers: $(PEERS)/.ready

$(PEERS)/.ready: benchmarks/peers/requirements.lock
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Faults at random, by seed, then every table against the ledger; CHAOS="--seed 7 --seconds 600" says more. JSON in build/chaos.
chaos: setup
	$(BIN)/python -m tests.chaos $(CHAOS)

clean:
	rm -rf $(VENV) $(PEERS) .embedded build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
