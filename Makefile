# Two commands on a fresh machine with Python 3.11 or later: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PINS := requirements/test.txt

.DEFAULT_GOAL := help
.PHONY: help demo check test lint bench bench-compare simulate fuzz torture stack stack-stop clean

help:  ## Say what there is
	@echo "make demo    build a small app, move it, change it, move it again, and compare"
	@echo "make check   check style, types and architecture, and run the quick tests: under 90 seconds, for while you work"
	@echo "make test    the same, and all tests: servers, killed processes, 2,000 simulated worlds; some 15 minutes on two processors"
	@echo "make lint    the checks without the tests"
	@echo "make simulate  run the pipeline in worlds that misbehave: SEEDS=100000 FIRST=0"
	@echo "make fuzz    alter what comes from outside, guided by coverage: SECONDS=600 (installs atheris; Linux)"
	@echo "make torture  kill real processes at work, and look whether all holds: KILLS=100 SEED=7 MINUTES=60"
	@echo "make bench   compare the speed with what is known, side by side"
	@echo "make bench-compare  say what a change did to speed, beside another commit in one run: BASE=main"
	@echo "make stack   start S3 and SQS on this computer (LocalStack, with Docker or without); make stack-stop ends them"
	@echo "make clean   remove $(VENV) and what the tools leave behind"

demo: $(READY)  ## Show what it does
	@$(BIN)/pipeline demo --directory .demo

check: lint  ## What is quick: no test marked slow, none that needs a server
	@echo "== quick tests"
	@$(BIN)/python -m pytest -q --numprocesses 2 --dist worksteal --hypothesis-profile quick -m "not slow and not server" $(PYTEST_ARGUMENTS)

test: lint  ## Everything that must hold
	@echo "== tests"
	@$(BIN)/python -m pytest -q --numprocesses 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGUMENTS)

lint: $(READY)  ## Style, types, architecture
	@echo "== style"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== types"
	@$(BIN)/mypy
	@echo "== architecture"
	@$(BIN)/lint-imports

simulate: $(READY)  ## SEEDS worlds that misbehave, from FIRST on
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),2000) --first $(or $(FIRST),0)

fuzz: $(READY)  ## Alter what comes from outside for so many SECONDS, guided by coverage
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	@$(BIN)/python -m tests.fuzz.coverage_guided -max_total_time=$(or $(SECONDS),600)

torture: $(READY)  ## KILLS real processes killed, as SEED has it
	@$(BIN)/python -m tests.torture --kills $(or $(KILLS),100) --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

bench: $(READY)  ## Speed, side by side in one run
	@$(BIN)/python -m benchmarks

bench-compare: $(READY)  ## This tree beside the commit BASE, or the one in benchmarks/baseline.json, in turns
	@$(BIN)/python -m benchmarks.compare $(BASE)

stack: $(READY)  ## S3 and SQS on this computer; STACK=--without-docker leaves Docker out
	@$(BIN)/python -m localstack.stack start $(STACK)

stack-stop: $(READY)  ## End it
	@$(BIN)/python -m localstack.stack stop

$(READY): pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@echo "== making a virtual environment in $(VENV) (takes a minute; only the first time and when the pins change)"
	@$(PYTHON) -m venv $(VENV)
	@echo "== installing the dependencies as pinned in $(PINS)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(PINS)
	@echo "== installing this project, editable"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

clean:  ## Start over
	rm -rf $(VENV) .venv-localstack .venv-ministack .venv-moto .venv-others .localstack .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
