# Two commands matter: `make demo` shows what dpib does, `make test` shows that it works.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow coverage check mistakes docs docs-links schema bench-dpsgd clean

demo: .venv/installed
	$(BIN)/dpib run experiments/demo.toml --runs runs

test: .venv/developed
	$(BIN)/python -m pytest -q -rs -n 2 -m "not slow and not gpu"

test-slow: .venv/developed
	$(BIN)/python -m pytest -m "slow or gpu"

coverage: .venv/developed
	$(BIN)/python -m pytest tests/privacy --cov=dpib.privacy --cov-branch --cov-report=term-missing --cov-fail-under=100

check: .venv/developed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

mistakes: .venv/developed
	OMP_NUM_THREADS=1 $(BIN)/python tests/mistakes/mistakes_page.py

docs: .venv/developed
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/site

docs-links: .venv/developed
	$(BIN)/python -m sphinx -q -b linkcheck -d build/doctrees docs build/links

schema: .venv/installed
	$(BIN)/python -c "import json, dpib.records as r; print(json.dumps(r.record_json_schema(), indent=1, sort_keys=True))" > submissions/record.schema.json

bench-dpsgd: .venv/developed
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.dpsgd

clean:
	rm -rf .venv build dist *.egg-info core/*.egg-info runs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/developed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@
