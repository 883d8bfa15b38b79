# Everything a user types. Each target installs what it needs first; nothing is configured before the first run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

SEED ?= 1
COMPOSE_UP ?= docker compose up --build --wait

.PHONY: help install check test gate gate-compose test-compose mutants soak kills up down doctor lock clean

help:
	@echo 'make gate     break the shop behind Toxiproxy, all promises at once, and judge it (about 6 minutes; 10 more the first time)'
	@echo 'make gate-compose  the same promises on the containers of docker-compose.yml, which it starts (about 20 minutes)'
	@echo 'make test-compose  the containers themselves: confined, sold from, broken by a mutant, left as they were (about 5 minutes)'
	@echo 'make test     the tests, some of the mutants among them'
	@echo 'make mutants  every broken shop against the promise that is about it: the score, written to docs/mutants.md (about 15 minutes)'
	@echo 'make soak N=20  so many gates of the unbroken shop, one after another, and what they said (BUSY=--busy: on a busy machine)'
	@echo 'make check    formatting, lint, types, and the direction of imports'
	@echo 'make kills    end N=100 runs every way there is while they break something, and time until nothing of them is left'
	@echo 'make up       start the shop and leave it running, to be broken by hand; make down ends it'
	@echo 'make doctor   which real servers are here, and what would help where one is missing'

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'brownout needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...' >&2; exit 3; }
	@echo 'installing into $(VENV): once, about a minute'
	@$(PYTHON) -m venv $(VENV) || { echo 'no venv module: install it, on Debian with: apt install python3-venv' >&2; exit 3; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install
	$(BIN)/pytest

kills: install
	@$(BIN)/python chaos/tests/kills.py --count $(or $(N),100) --seed $(SEED)
	@$(BIN)/python chaos/tests/undo_times.py

gate: install
	@$(BIN)/brownout gate $(GATE)

gate-compose: install
	@$(COMPOSE_UP)
	@$(BIN)/brownout gate --on compose --grafana 127.0.0.1:3000 $(GATE)

test-compose: install
	@$(COMPOSE_UP)
	@$(BIN)/pytest -m docker chaos/tests/test_compose_gate.py

mutants: install
	@PYTHONPATH=chaos/tests $(BIN)/python -m mutants --table docs/mutants.md

soak: install
	@PYTHONPATH=chaos/tests $(BIN)/python -m soak $(or $(N),20) $(BUSY)

up: install
	@$(BIN)/brownout up

down: install
	@$(BIN)/brownout down

doctor: install
	@$(BIN)/brownout doctor

lock: # after a change of dependencies in pyproject.toml; needs uv on PATH
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --all-extras \
	  --no-header pyproject.toml -o requirements.lock
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["shop"], sep="\n")' | \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  -c requirements.lock - -o system/requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
