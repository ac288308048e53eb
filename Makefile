# `make help` lists the targets. Each makes or renews .venv by itself when it has to.
MAKEFLAGS += --no-print-directory
VENV := .venv/bin
# One more than there are processors: much of a test is waiting for other processes.
TEST_PROCESSES := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo up test lint bench docs reference lock audit sbom clean venv

help:
	@echo "make demo    four weeks of a sample campaign, in simulated time"
	@echo "make up      everything in one process: database, workers, tick"
	@echo "make test    all tests (PYTEST_ARGS='-k tick' passes options on)"
	@echo "make lint    ruff, mypy and the import contracts"
	@echo "make bench   benchmarks (BENCH_ARGS=--short for a quick run)"
	@echo "make docs    the documentation as a site in site/; links and anchors are checked"
	@echo "make reference  renews docs/reference after a change of commands, settings, steps, events, …"
	@echo "make lock    renews the locks after a change of pyproject.toml (UPGRADE=1: to the newest versions)"
	@echo "make audit   asks whether the locked versions have known vulnerabilities"
	@echo "make sbom    writes sbom.json, what is installed, as CycloneDX"
	@echo "make clean   removes .venv, caches and builds; .parcours, your data, stays"

demo: venv
	@$(VENV)/parcours demo

up: venv
	@exec $(VENV)/parcours up

test: venv
	@$(VENV)/pytest --numprocesses $(TEST_PROCESSES) --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: venv
	@$(VENV)/ruff check --quiet .
	@$(VENV)/ruff format --check --quiet .
	@$(VENV)/mypy --no-error-summary
	@told=$$($(VENV)/lint-imports 2>&1) || { echo "$$told"; exit 1; }

bench: venv
	@$(VENV)/python -m tests.benchmarks.run $(BENCH_ARGS)

docs: venv
	@told=$$(NO_COLOR=1 $(VENV)/zensical build --strict 2>&1) || { echo "$$told"; exit 1; }

reference: venv
	@$(VENV)/python -m tests.docs.reference

lock:
	@.ci/lock $(if $(UPGRADE),--upgrade)

audit: venv
	@$(VENV)/pip-audit --requirement requirements.lock --disable-pip --require-hashes --progress-spinner off --timeout 10

sbom: venv
	@$(VENV)/cyclonedx-py environment $(VENV)/python --output-file sbom.json

clean:
	@rm -rf .venv build dist site .cache *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.parcours/*' -prune -exec rm -rf {} +

venv:
	@.ci/venv
