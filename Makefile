# Needs Python 3.11 to 3.13, make and git; for Kafka a container engine, or Java 17 and Maven.
# Start with `make demo` or `make test`; `make help` lists the rest.

# The newest supported Python that really runs: a version manager's shim may be on the path and still fail.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
SUPPORTED = import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
BIN = .venv/bin
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --only-binary :all: --no-header --no-annotate

.PHONY: help demo judges test test-long check format kafka bench lock upgrade dist clean

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed ## run the main job, from an agent's signed intent to a verified result
	@$(BIN)/qpubus demo

judges: .venv/installed ## install what the tests ask from npm (conformance runner, Inspector, parsers), once a lock
	@$(BIN)/python -m tests.support.node

test: .venv/installed ## run all tests but the long ones, two at a time; needs a network once, for Kafka and what npm brings
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-long: .venv/installed ## run the long tests: many seeds, many kills
	@$(BIN)/python -m pytest -m long

check: .venv/installed ## check style, types and the direction of imports; changes nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/installed ## mend what can be mended by machine
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

kafka: .venv/installed ## start a Kafka broker for the bus, in a container or in Java; `qpubus kafka stop` ends it
	@$(BIN)/qpubus kafka start

bench: .venv/installed ## measure, each figure against its reference
	@$(BIN)/qpubus bench

lock: .venv/locked ## write the lock files after a change of dependencies, moving as little as possible
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock

upgrade: COMPILE += --upgrade
upgrade: lock ## write the lock files anew with the newest versions

dist: .venv/installed ## build wheel and source archive into dist/
	@$(BIN)/python -m build --no-isolation

clean: ## remove everything that make made
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/locked: requirements.lock requirements-dev.lock
	@$(or $(PYTHON),false) -c '$(SUPPORTED)' 2>/dev/null || { \
	  echo "qpubus needs Python 3.11, 3.12 or 3.13 with its venv module, and found none. One of these installs it:"; \
	  echo "  apt-get install python3 python3-venv    dnf install python3.13    brew install python@3.13"; \
	  echo "Where it is not on the path: make PYTHON=/path/to/python3.13"; exit 1; } >&2
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock -r requirements-dev.lock
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@touch $@
