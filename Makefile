# Every command of the project; `make` lists them. Needs Python >= 3.11, make and git, nothing else: uv is put into
# .tools/ when the machine has none, and packages into two environments:
#
#     .venv      what serves: gateway, models, ONNX Runtime; no torch
#     .venv-dev  everything, for tests, training and quality: torch too, about 6 GB
#
# Both come from uv.lock and are brought up to date by the command that needs them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python that is new enough; uv is never asked to download one.
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && break; done)
UV := $(or $(shell command -v uv),.tools/bin/uv)
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
# Without bytecode, every start of every service compiles some 2 000 modules anew; ours are compiled when they are used,
# also where a machine says that Python may not write that down.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

SERVING := --no-default-groups --extra gateway --extra model --extra cpu
EVERYTHING := $(SERVING) --extra compiler --extra training --group dev
DEV := .venv-dev/bin/
CODE := services tests benchmarks

.PHONY: help up test coverage check lint format types layers audit train quality bench bench-engine bench-animation bench-gateway chaos fuzz cluster-up cluster-load cluster-down test-cluster bench-cluster motion-bundle clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/synced ## start everything, draw out/first.png, serve until Ctrl-C (BOWERBIRD_PORT, BOWERBIRD_HOME)
	@exec .venv/bin/bowerbird up

# A file's tests stay in one process: what they share (a stack, a compiled model) is made once.
SPREAD := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: .venv-dev/synced ## everything this machine can test
	@$(DEV)pytest $(SPREAD) $(ARGS)

# Tracing branches costs the tests more than half of their time again: it is asked for, not part of every run.
coverage: .venv-dev/synced ## the same, and which branches no test takes
	@$(DEV)pytest $(SPREAD) --cov --cov-branch --cov-report=term $(ARGS)

check: lint types layers audit ## lint, format, types, layers, audit: what CI runs before the tests

lint: .venv-dev/synced ## style and format, without changing anything
	@$(DEV)ruff check $(CODE)
	@$(DEV)ruff format --check $(CODE)

format: .venv-dev/synced ## put the code into its format
	@$(DEV)ruff check --fix $(CODE)
	@$(DEV)ruff format $(CODE)

types: .venv-dev/synced ## strict types
	@$(DEV)mypy

layers: .venv-dev/synced ## arrows between the modules point one way
	@$(DEV)lint-imports

audit: .venv-dev/synced ## known vulnerabilities in our code and in what it depends on
	@$(DEV)ruff check --select S services
	@$(PYTHON) .ci/audit $(UV) $(DEV)pip-audit

train: .venv-dev/synced ## train the model that comes with it, anew (hours on two cores, minutes on a GPU)
	@$(DEV)bowerbird train fledgling

quality: .venv-dev/synced ## draw 600 held-out prompts and 200 clips, and measure what was drawn (hours)
	@$(DEV)bowerbird train quality --bundle services/bowerbird/models/fledgling --results benchmarks/results
	@$(DEV)bowerbird train clip-quality --bundle services/bowerbird/models/fledgling-motion --results benchmarks/results

RUN ?= .bowerbird/fledgling
TO ?= $(RUN)/motion-bundle
motion-bundle: .venv-dev/synced ## the motion that was taught so far (RUN) as a bundle (TO), with a sheet of clips to look at
	@$(DEV)bowerbird train fledgling --stage assemble-motion --work $(RUN)
	@$(DEV)bowerbird compile $(RUN)/model-motion --to $(TO) --precision int8
	@$(DEV)bowerbird train clip-sheet --bundle $(TO) --to $(TO).png

bench: .venv-dev/synced ## speed and memory of the whole stack, as a table
	@$(DEV)python -m benchmarks

bench-engine: .venv-dev/synced | $(UV) ## the engine against its peers, row by row: hours (ARGS="--row C6" for one)
	@$(DEV)python -m benchmarks.engine $(ARGS)

bench-animation: .venv-dev/synced | $(UV) ## what a clip takes, weighs and costs its neighbours (ARGS="--row A3" for one row)
	@$(DEV)python -m benchmarks.animation $(ARGS)

bench-gateway: .venv-dev/synced | $(UV) ## what the gateway costs, and what it keeps under load (ARGS="--row cost" for one row)
	@$(DEV)python -m benchmarks.gateway $(ARGS)

chaos: .venv-dev/synced ## break everything while thousands of requests run, then check the books (ARGS="--seed 7" replays a plan)
	@$(DEV)python -m tests.chaos $(ARGS)

fuzz: .venv-dev/synced | $(UV) ## a million hostile inputs for every parser of foreign bytes (ARGS="--parser cursor" for one)
	@UV_PROJECT_ENVIRONMENT=.venv-dev $(UV) sync --frozen --inexact $(EVERYTHING) --group fuzz
	@$(DEV)python -m tests.fuzz $(ARGS)

cluster-up: .venv-dev/synced ## a real Kubernetes with KEDA on this machine (root on Linux; first time: a quarter of an hour)
	@$(DEV)python -m tests.cluster up

cluster-load: .venv-dev/synced ## build Bowerbird's images where something changed and give them to the cluster's nodes
	@$(DEV)python -m tests.cluster load

cluster-down: .venv-dev/synced ## take it away again
	@$(DEV)python -m tests.cluster down

# The chart's tests need no cluster: `make test` has them.
TESTS ?= tests/cluster --ignore-glob='*/test_chart*'
# Two releases beside each other, since tests mostly wait; more would only wait for each other's cores.
BESIDE := -n 2 --dist loadfile --no-loadscope-reorder --verbose
test-cluster: .venv-dev/synced ## the tests that need a cluster (CLUSTER=own, or existing with KUBECONFIG; TESTS=file for one)
	@CLUSTER=$(or $(CLUSTER),own) $(DEV)pytest $(BESIDE) $(TESTS) $(ARGS)

bench-cluster: .venv-dev/synced ## how long a cluster, a release and a wake take (WHAT=wakes: a hundred; WHAT=cycles: with faults; WHAT=scale-downs)
	@$(DEV)python -m tests.cluster $(or $(WHAT),bench)

clean: ## remove environments, tools and what they made; never .bowerbird/ or out/
	rm -rf .tools .venv .venv-dev .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/synced: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen $(SERVING)
	@touch $@

.venv-dev/synced: pyproject.toml uv.lock | $(UV)
	@UV_PROJECT_ENVIRONMENT=.venv-dev $(UV) sync --frozen $(EVERYTHING)
	@touch $@

.tools/bin/uv:
	@.ci/install-uv "$(PYTHON)" .tools
