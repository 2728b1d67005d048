# Starlings: every target installs what it needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
PYTHON ?= python3
SEED ?= 1
MEMBERS := sdk services/planner services/coordinator services/agents

.DEFAULT_GOAL := help
.PHONY: help setup lock demo dev kcat postgres test test-fast test-k8s check bench chaos answers fix schemas schemas-check chart images clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Starlings needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

$(VENV)/.installed: $(VENV)/.uv requirements.lock pyproject.toml $(addsuffix /pyproject.toml,$(MEMBERS))
	@echo "installing the locked packages"
	@$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch $@

setup: $(VENV)/.installed ## Install everything into .venv, from the hashed lock

lock: $(VENV)/.uv ## Resolve the versions anew into requirements.lock
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev pyproject.toml \
	  --no-emit-package starlings --no-emit-package starlings-planner --no-emit-package starlings-coordinator \
	  --no-emit-package starlings-agents --no-header --upgrade -o requirements.lock

demo: setup ## One request through a real Kafka, planner, coordinator and agents, on this machine
	@$(BIN)/starlings demo

dev: setup ## The whole system in this terminal until Ctrl-C (AGENTS="module:agent …" adds yours)
	@$(BIN)/starlings dev $(AGENTS)

kcat: # the command-line producer that one test types requests with
	@command -v kcat kafkacat >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq kcat >/dev/null; } \
	  || echo "kcat is not installed: the test that types with it is skipped (in CI it fails)"

postgres: # the server on which the agent sql is tested
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq postgresql >/dev/null; } \
	  || echo "PostgreSQL is not installed: the tests that need it are skipped (in CI they fail)"

test: check kcat postgres ## Everything that is checked, on a real Apache Kafka
	@$(BIN)/coverage run --source=starlings.choreography -m pytest -q tests/unit/choreography
	@$(BIN)/coverage report --fail-under=100 --skip-covered
	@$(BIN)/pytest -q -n 2 --dist loadfile

test-fast: setup ## The tests that need no Kafka
	@$(BIN)/pytest -q -n 2 --dist loadfile -m 'not kafka' tests/unit tests/property

test-k8s: setup ## Install the chart on the cluster of KUBECONFIG; scale, upgrade and break it there
	@STARLINGS_TEST_K8S=1 $(BIN)/pytest -q -n 0 tests/k8s $(ARGS)

check: setup ## Format, lint, types and architecture, without changing a file
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m starlings.contract check schemas

schemas: setup ## Write the published contract in schemas/ from the models
	@$(BIN)/python -m starlings.contract write schemas

schemas-check: setup ## Fail where the contract drifted, or a released version would break
	@$(BIN)/python -m starlings.contract check schemas

bench: setup ## Measure speed on Apache Kafka beside bare aiokafka; fail where a mark is missed
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: setup ## Kill, freeze and repeat everything on Apache Kafka, and audit the log (SEED=7 ARGS="--only zombie")
	@PYTHONPATH=tests $(BIN)/python -m support.chaos --seed $(SEED) $(ARGS)

chart: setup ## Write the chart's README from its values, and try the chart without a cluster
	@$(BIN)/python deploy/helm/values_page.py
	@$(BIN)/pytest -q -n 2 --dist loadfile tests/deploy

answers: setup ## Record anew what a model answers in the examples, after a change of a prompt
	@PYTHONPATH=tests $(BIN)/python -m support.example_model

images: ## Build container images and print their sizes (IMAGES="coordinator agent-math" REGISTRY= TAG=)
	@IMAGES="$(IMAGES)" REGISTRY="$(REGISTRY)" TAG="$(TAG)" PYTHONPATH=deploy/docker PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m images $(ARGS)

fix: setup ## Format and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove the environment and all caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
