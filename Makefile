# make lab        JupyterLab on the chapters
# make test       all tests but the slow ones
# make test-slow  the slow ones
# make browser-test  run all notebooks in JupyterLab in Chromium
# make notebooks  run every chapter and solution anew and keep the outputs
# make exercises  make the exercises from the solutions (answers in them are lost), and
#                 enter their points in the gradebook
# make html       make the chapters a site in site/, to be read without Jupyter
# make bench      measure d2lmini beside d2l 1.0.3
# make oldest     all tests with the oldest versions that are allowed (in .venv-oldest)
# Each command makes its environment first, where it is missing or out of date.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The kernels of this environment come before the user's own.
export JUPYTER_PREFER_ENV_PATH := 1

LAB_OPTIONS := --notebook-dir=notebooks
ifeq ($(shell id -u),0)  # a container: JupyterLab asks root to say so
LAB_OPTIONS += --allow-root
endif
ifeq ($(shell uname -s)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)  # no screen
LAB_OPTIONS += --no-browser
endif

.PHONY: lab test test-slow browser-test notebooks exercises html bench oldest

lab: $(VENV)/reader
	$(BIN)/jupyter lab $(LAB_OPTIONS)

test: $(VENV)/tester
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest tests notebooks -m "not slow and not browser" \
		--nbval --nbval-sanitize-with=tests/sanitize.cfg

test-slow: $(VENV)/tester
	$(BIN)/pytest tests -m slow

browser-test: $(VENV)/browser
	@command -v chromium > /dev/null || \
		{ echo "make browser-test needs Chromium: apt install chromium"; exit 1; }
	$(BIN)/pytest tests -m browser

notebooks: $(VENV)/tester
	$(BIN)/ruff format notebooks
	$(BIN)/python notebooks/execute.py

# nbgrader looks for its helper alembic in PATH.
exercises: export PATH := $(abspath $(BIN)):$(PATH)
exercises: $(VENV)/tester
	cd notebooks && nbgrader generate_assignment '*' --force

html: $(VENV)/writer
	$(BIN)/python notebooks/pages.py site

bench: $(VENV)/d2l
	$(BIN)/python benchmarks/bench.py

# Every lower bound becomes the only version allowed.
oldest:
	mkdir -p .venv-oldest
	grep -hoE '[a-z0-9-]+>=[0-9.]+' requirements.txt pyproject.toml | sed 's/>=/==/' \
		> .venv-oldest/constraints.txt
	PIP_CONSTRAINT=$(CURDIR)/.venv-oldest/constraints.txt \
		$(MAKE) test VENV=.venv-oldest

$(VENV)/reader: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

$(VENV)/writer: $(VENV)/reader
	$(BIN)/python -m pip install -e '.[html]'
	touch $@

# d2l pins old versions of its requirements, so it comes without them.
$(VENV)/d2l: $(VENV)/reader
	$(BIN)/python -m pip install -e '.[bench]'
	$(BIN)/python -m pip install --no-deps d2l==1.0.3
	touch $@

$(VENV)/tester: $(VENV)/d2l
	$(BIN)/python -m pip install -e '.[test,classroom]'
	touch $@

$(VENV)/browser: $(VENV)/tester
	$(BIN)/python -m pip install -e '.[browser]'
	touch $@
