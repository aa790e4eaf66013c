# What a newcomer types. `make help` lists it.
# Debian's own interpreter where it can make environments: it is a third faster than one that was built without
# profile-guided optimisation, as version managers do.
FIT = 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell /usr/bin/python3 -c $(FIT) 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help venv setup demo serve test lint bench lock audit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.locked

# The stamp holds the lock's own text, so a changed lock reinstalls and nothing else does.
$(VENV)/.locked: requirements.lock pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@cp requirements.lock $@

setup: venv ## .venv with the locked dependencies, then Asterisk, voices and the database
	$(BIN)/zvonar setup

demo: setup ## a campaign of 60 calls through a real Asterisk; stays up until Ctrl-C
	$(BIN)/zvonar demo

serve: setup ## the service on port 8700, with your own trunks
	$(BIN)/zvonar serve

lint: venv ## ruff, mypy and the layers of the house
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup lint ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

lock: ## requirements.lock from pyproject.toml, with hashes (needs uv)
	printf 'hatchling\neditables\n' | uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --extra dev --extra whisper pyproject.toml - --output-file requirements.lock

bench: setup ## every benchmark beside its baseline: a table and bench/results.jsonl
	$(BIN)/python -m bench

audit: venv ## known vulnerabilities in the locked dependencies
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements.lock

clean: ## forget the virtual environment (never var/, where the data is)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
