PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What the tests run for real: Debian's MariaDB server, without a service of its own, stock BOINC client, and browser.
PACKAGES := mariadb-server-core mariadb-client-core boinc-client chromium acl
# The slow files come first, so that no worker is left alone with them.
PYTEST := -m pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test lint coverage test-all hooks packages clean

help:      ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/installed  ## run the main example on this machine, on an embedded project
	$(BIN)/python -m aioboinc run examples/sum_of_squares/app_master.py

test: $(VENV)/test packages  ## install what the tests need, and run them; PYTEST_ARGS="-k …" for some
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

lint: $(VENV)/lint  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test-all:  ## lint and test with every Python that is found, from 3.11 on
	@.ci/pythons | while read -r version python; do \
	    echo "== Python $$version: $$python"; \
	    $(MAKE) lint test PYTHON="$$python" VENV=".venv-$$version" </dev/null || exit; \
	done

coverage: $(VENV)/coverage packages  ## run the tests, and show which lines they and the processes they start reach
	$(BIN)/coverage erase
	$(BIN)/coverage run $(PYTEST) --deselect tests/acceptance/test_event_loop.py $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

hooks: $(VENV)/lint  ## have git run `make lint` before each commit, and `make test` before each push
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

clean:     ## remove what was made here
	rm -rf .venv .venv-3.* build dist *.egg-info .coverage .coverage.*

$(VENV)/installed: setup.cfg pyproject.toml
	@.ci/make-venv $(PYTHON) $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/lint: $(VENV)/test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

$(VENV)/coverage: $(VENV)/test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,coverage]'
	@touch $@

packages:
	@.ci/packages $(PACKAGES)
