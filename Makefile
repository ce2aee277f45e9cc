# make demo    run the main example on this machine, on an embedded project
# make test    install what the tests need, and run them
# make lint    ruff and mypy
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the tests run for real: Debian's MariaDB server, without a service of its own, stock BOINC client, and browser.
PACKAGES := mariadb-server-core mariadb-client-core boinc-client chromium acl

.PHONY: demo test lint packages clean

demo: $(VENV)/installed
	$(BIN)/python -m aioboinc run examples/sum_of_squares/app_master.py

test: $(VENV)/test packages
	$(BIN)/python -m pytest -n 3 --dist loadfile --timeout 300 $(PYTEST_ARGS)

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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

packages:
	@.ci/packages $(PACKAGES)

clean:
	rm -rf $(VENV) build dist *.egg-info
