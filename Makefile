# make lab        JupyterLab on the chapters
# make test       all tests but the slow ones
# make test-slow  the slow ones
# make notebooks  run every chapter anew and keep its outputs
# Each command makes the environment .venv first, where it is missing or out of date.

PYTHON ?= python3
BIN := .venv/bin
# The kernels of this environment come before the user's own.
export JUPYTER_PREFER_ENV_PATH := 1

LAB_OPTIONS := --notebook-dir=notebooks
ifeq ($(shell id -u),0)  # a container: JupyterLab asks root to say so
LAB_OPTIONS += --allow-root
endif
ifeq ($(shell uname -s)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)  # no screen
LAB_OPTIONS += --no-browser
endif

.PHONY: lab test test-slow notebooks

lab: .venv/reader
	$(BIN)/jupyter lab $(LAB_OPTIONS)

test: .venv/tester
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest tests notebooks -m "not slow" \
		--nbval --nbval-sanitize-with=tests/sanitize.cfg

test-slow: .venv/tester
	$(BIN)/pytest tests -m slow

notebooks: .venv/tester
	$(BIN)/ruff format notebooks
	$(BIN)/python notebooks/execute.py

.venv/reader: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

# d2l pins old versions of its requirements, so it comes without them.
.venv/tester: .venv/reader
	$(BIN)/python -m pip install -e '.[test]'
	$(BIN)/python -m pip install --no-deps d2l==1.0.3
	touch $@
