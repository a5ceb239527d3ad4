# Python 3.11 or newer and make are all a machine needs. `make help` lists the verbs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
LOCKED := $(INSTALL) --only-binary :all: --require-hashes
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade)

.PHONY: help run test faults chaos soak planted check bench bench-detection bench-scaling quality fmt image lock servers

help: ## List the verbs.
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

run: .venv/project ## Start the demo: simulated traffic with faults, status page on http://127.0.0.1:8080.
	@exec $(BIN)/sentinel demo

KERNEL_TESTS := $(addprefix tests/detection/test_,windows.py snapshot.py memory_pool.py tail.py runs.py profile.py)

# These, most of which wait for servers, run beside the others; both shares take about as long.
SERVER_TESTS := $(addprefix tests/,alerting chaos e2e faults ingestion integrations observability sdk state storage tools)
TESTS := -m pytest -q -rs --timeout 300 --durations 10

test: .venv/project .venv/development servers ## Run all tests and hold coverage at 90%.
	$(BIN)/coverage erase
	# Compiled kernels are invisible to coverage: one small pass interprets them.
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -q --timeout 300 -m "not slow" $(KERNEL_TESTS)
	@mkdir -p build
	$(BIN)/coverage run $(TESTS) $(SERVER_TESTS) >build/server-tests.txt 2>&1 & beside=$$!; \
	$(BIN)/coverage run $(TESTS) $(addprefix --ignore=,$(SERVER_TESTS)) && failed=0 || failed=1; \
	wait $$beside || failed=1; cat build/server-tests.txt; exit $$failed
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under 90

faults: .venv/project .venv/development servers ## Make every server fail for a minute, and kill the daemon 50 times: a quarter of an hour.
	FAULT_SECONDS=60 FAULT_KILLS=50 $(BIN)/python -m pytest -q -rs -s --timeout 1200 tests/faults

# Replicas as processes on real servers, Toxiproxy in between; the table of figures is build/chaos.txt. Needs Go for Toxiproxy: without it
# the tests behind it are skipped and say so. CHAOS=short does everything at a small size in a quarter of an hour.
chaos: .venv/project .venv/development servers ## Kill, freeze, restart and cut off replicas, and hold what is left against two oracles: within an hour.
	@$(BIN)/python -m tools.servers install toxiproxy || echo 'Tests that need it will be skipped.'
	CHAOS=$${CHAOS:-full} $(BIN)/python -m pytest -q -rs -s --timeout 2400 tests/chaos

# SOAK_RATE events a second (3,000); memory is judged after SOAK_WARM_UP_MINUTES (10, or a third of SOAK_MINUTES).
soak: .venv/project .venv/development servers ## Run one daemon under steady traffic with mild trouble, half an hour or SOAK_MINUTES; figures and build/soak.html.
	SOAK_MINUTES=$${SOAK_MINUTES:-30} CHAOS=full $(BIN)/python -m pytest -q -rs -s --timeout 0 tests/chaos/test_soak.py

planted: .venv/project .venv/development ## Plant known bugs and see that the tests find each (OPTIONS=alerts-twice for one).
	$(BIN)/python -m tools.planted $(OPTIONS)

check: .venv/project .venv/development ## Format, lint, types and the rules between rooms, changing nothing.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p sentinel -p tools
	$(BIN)/mypy --strict sdk/python/src examples/producers examples/detectors/refusal_streak/refusal_streak.py
	$(BIN)/lint-imports

bench: .venv/project .venv/development servers ## Measure throughput, latency, memory and the API: six minutes.
	$(BIN)/python bench/pipeline.py

bench-detection: .venv/project ## Measure the kernel of detection and the memory of windows: three minutes.
	$(BIN)/python -m bench.kernel

bench-scaling: .venv/project .venv/development servers ## Measure events per CPU second with 1, 2 and 3 replicas: three minutes.
	$(BIN)/python bench/scaling.py

quality: .venv/project ## Measure detection on simulated weeks with known faults: a quarter of an hour (OPTIONS='--seeds 2').
	$(BIN)/python bench/quality.py $(OPTIONS)

image: .venv/project ## Build the container image with buildah (needs root).
	@$(BIN)/python -m tools.image

fmt: .venv/development ## Format, and fix what the linter can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: .venv/development ## Lock requirements anew; UPGRADE=1 moves to the newest versions.
	$(COMPILE) --all-extras pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	$(COMPILE) --extra all pyproject.toml --constraints requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) requirements/build.in --constraints requirements/dev.txt --output-file requirements/build.txt

# Where a server cannot be had, the tests that need it are skipped and say so; in CI that is a failure.
servers: .venv/project .venv/development
	@$(BIN)/python -m tools.servers install || { test "$${CI:-}" != true && echo 'Tests that need what is missing will be skipped.'; }

# ---------------------------------------------------------------------------------------------------------------- set-up
# Each file marks a step that is done; it is redone when what it was made from changed.

.venv/made:
	@for python in .venv/bin/python $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	  python=; \
	done; \
	if test -z "$$python"; then \
	  echo 'Python 3.11 or newer with its venv module is needed (on Debian and Ubuntu: apt-get install python3-venv).' >&2; \
	  echo 'Where it is not on the PATH: make PYTHON=/path/to/python3' >&2; \
	  exit 1; \
	fi; \
	if test "$$python" != .venv/bin/python; then \
	  echo "Setting up .venv with $$("$$python" --version)"; \
	  "$$python" -m venv --clear .venv; \
	fi
	@touch $@

.venv/runtime: .venv/made requirements/runtime.txt requirements/build.txt
	$(LOCKED) -r requirements/runtime.txt -r requirements/build.txt
	@touch $@

.venv/project: .venv/runtime pyproject.toml
	$(INSTALL) --no-build-isolation --no-deps --no-index --editable .
	@touch $@

.venv/development: .venv/runtime requirements/dev.txt
	$(LOCKED) -r requirements/dev.txt
	@touch $@
