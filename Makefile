# Every target does its own set-up and is quick when there is nothing to do.
#
#   make run              the demonstration site, public by the embedded relay
#   make run ADDR=8000    the same for a web server of yours
#   make test             every test but the long ones, on the newest dependencies
#   make test-floor       the same on the oldest, without browser and slow tests
#   make check            format, lint, types, import rules, spelling
#   make test-long        multi-GiB, soak and million-seed runs
#   make bench            what it costs, beside direct access, nginx and ssh -R
#   make clean            removes what the targets above made

PYTHON ?= python3
VENV := .venv
FLOOR := .venv-floor
JOBS ?= 2
# More arguments for pytest, e.g. make test ARGS="tests/wire -x"
ARGS ?=
# Named in full: an environment that is handed in may have no PATH worth the name.
export PATH := $(PATH):/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
unexport PYTHONPATH

.PHONY: run test test-floor test-long check bench clean venv

venv:
	@.ci/make-venv $(PYTHON) $(VENV)

run: venv
	@exec $(VENV)/bin/burrow $(if $(ADDR),http $(ADDR),demo)

test:
	@.ci/debian-packages
	@.ci/make-venv $(PYTHON) $(VENV) test
	$(VENV)/bin/python -m pytest -n $(JOBS) $(ARGS)

test-floor:
	@.ci/debian-packages
	@.ci/make-venv $(PYTHON) $(FLOOR) test .ci/floor.txt
	$(FLOOR)/bin/python -m pytest -n $(JOBS) -m "not browser and not slow and not long" $(ARGS)

test-long:
	@.ci/debian-packages
	@.ci/make-venv $(PYTHON) $(VENV) test
	$(VENV)/bin/python -m pytest -m long --durations=0 $(ARGS)

check:
	@.ci/make-venv $(PYTHON) $(VENV) check,test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell

bench:
	@.ci/debian-packages
	@.ci/make-venv $(PYTHON) $(VENV) test
	$(VENV)/bin/python -m bench.compare $(ARGS)

clean:
	rm -rf $(VENV) $(FLOOR) build dist burrow.egg-info bench/results .mypy_cache .ruff_cache .pytest_cache
	rm -rf .import_linter_cache .hypothesis _trial_temp twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
