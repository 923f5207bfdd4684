# make demo   the quickstart: images out of a teacher, a student, a pruned network, a table and a page
# make test   style, types and tests
# Both make .venv and install into it what they need.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test pytest lint clean

demo: .venv/installed
	$(BIN)/di-run quickstart

# Style and types are checked beside the tests.
test: .venv/installed
	$(MAKE) --no-print-directory --jobs 2 lint pytest

pytest: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# DALI's extra is empty where DALI has no wheel (anything but Linux on x86-64); webdataset is the loader there.
.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev,dali]'
	touch $@

clean:
	rm -rf .venv runs shards build *.egg-info
