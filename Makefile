# The project's commands. Everything lives in .venv; nothing is installed outside of it,
# except by `make deps`, which says what it does.

VENV ?= .venv
BIN := $(VENV)/bin
# Files of tests that run side by side: they wait more than they compute.
JOBS ?= 3
# The oldest Python that is supported comes first: what works there works on the newer ones.
PYTHON ?= $(shell .ci/python)

.DEFAULT_GOAL := help
.PHONY: help demo test check format deps peers bench bench-quick clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/.run ## Copy a real file of over a million lines through a server
	$(BIN)/python -m benchmarks.demo

# In the order of the files: those with the fewest tests, which xdist would take last, take longest.
test: deps $(VENV)/.bench ## Run every test
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: deps $(VENV)/.bench ## Check format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Bring the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: peers $(VENV)/.bench ## Measure against the peers (about half an hour)
	$(BIN)/python -m benchmarks run
	$(BIN)/python -m benchmarks run --only growth --seconds 400 \
		--output benchmarks/results/growth.json
	$(BIN)/python -m benchmarks report --input benchmarks/results/growth.json \
		--output docs/benchmarks/growth
	$(BIN)/python -m benchmarks run --only cures
	$(BIN)/python -m benchmarks report
	$(BIN)/python -m benchmarks run --store sqlite --only copy --only sqlite --only backlog --seconds 700 \
		--output benchmarks/results/sqlite.json
	$(BIN)/python -m benchmarks report --input benchmarks/results/sqlite.json \
		--output docs/benchmarks/sqlite
	$(BIN)/python -m benchmarks run --store redis --only shared --seconds 60 \
		--output benchmarks/results/redis.json
	$(BIN)/python -m benchmarks report --input benchmarks/results/redis.json \
		--output docs/benchmarks/redis
	$(BIN)/python -m benchmarks.worksheet
	$(BIN)/python -m benchmarks run --only sharding
	$(BIN)/python -m benchmarks report --input benchmarks/results/sharding.json \
		--output docs/benchmarks/sharding
	$(BIN)/python -m benchmarks.shards_worksheet

bench-quick: peers $(VENV)/.bench ## Measure the most important figures (under two minutes)
	$(BIN)/python -m benchmarks run --quick

deps: ## Install what tests and benchmarks need from the system
	@.ci/deps

peers:
	@.ci/deps bench

clean: ## Remove what was made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

$(VENV)/.run: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --group bench
	touch $@
