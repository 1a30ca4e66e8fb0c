# Everything a newcomer runs. `make` alone prints this list.
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup test demo lint format clean

help:  ## print this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

setup:  ## make .venv with the tested packages (quick when nothing changed; PYTHON=... and TORCH=... choose others)
	@bash .ci/setup

test: lint  ## set up, check style and types, run every test (at most 15 minutes on 2 cores)
	$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 1

demo: setup  ## set up, then teacher -> BC -> DAgger -> AWAC on real LIBERO (13 minutes on 2 quick cores; aim: 25)
	$(PY) -m lit_distill pipeline --config conf/demo.yaml

lint: setup  ## set up, check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: setup  ## set up, put the code into its style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:  ## remove .venv and caches (data/ and runs/ stay)
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
