# make lab        JupyterLab, with chapter 1 open
# make lab-zh     the same in Chinese (notebooks-zh/)
# make environment  only what the other commands begin with: install what a reader needs
# make test       all tests but the slow ones
# make test-slow  the slow ones
# make browser-test  run all notebooks in JupyterLab in Chromium, and the explorer's page
# make notebooks  run every chapter and solution again, keep the outputs, and copy the
#                 README's pictures from them; then make editions
# make exercises  make the exercises from the solutions (answers in them are lost), and
#                 enter their points in the gradebook; then make editions
# make editions   make notebooks-zh/ and README.zh.md from the English and translations/
# make html       make the chapters a site in site/, to be read without Jupyter
# make bench      measure d2lmini beside d2l 1.0.3
# make places     run the chapters where people are; the table in CONTRIBUTING.md (long)
# make class      hold a class on a real JupyterHub and measure it: STUDENTS="12 6" (Linux)
# make oldest     all tests with the oldest versions that are allowed (in .venv-oldest)
# Each command makes its environment first, where it is missing or out of date.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What is in the environment is written in names of empty files, and never in dates, which
# a clone, a copy or an unpacked zip changes: the text of the requirements, and the folder,
# which an environment's programs know by its full name.
MADE := $(VENV)/made-$(shell cat requirements.txt pyproject.toml | cksum | cut -d' ' -f1)
HERE := $(VENV)/here-$(shell pwd -P | cksum | cut -d' ' -f1)
# The kernels of this environment come before the user's own.
export JUPYTER_PREFER_ENV_PATH := 1

LAB_OPTIONS := --LabApp.default_url=/lab/tree/01_vgg_blocks.ipynb
# Defaults, below the reader's own settings: no question about JupyterLab's news.
LAB_OPTIONS += --LabApp.app_settings_dir=tools/jupyterlab
ifeq ($(shell id -u),0)  # a container: JupyterLab asks root to say so
LAB_OPTIONS += --allow-root
endif
ifeq ($(shell uname -s)$(DISPLAY)$(WAYLAND_DISPLAY),Linux)  # no screen
LAB_OPTIONS += --no-browser
endif

.PHONY: lab lab-zh environment test test-slow browser-test notebooks exercises editions \
	html bench places class oldest

lab lab-zh: environment
	$(BIN)/jupyter lab --notebook-dir=$(@:lab%=notebooks%) $(LAB_OPTIONS)

test: | $(MADE)-tester
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest tests notebooks -m "not slow and not browser" \
		--nbval --nbval-sanitize-with=tests/sanitize.cfg

test-slow: | $(MADE)-tester
	$(BIN)/pytest tests -m slow

browser-test: | $(MADE)-browser
	@command -v chromium > /dev/null || \
		{ echo "make browser-test needs Chromium: apt install chromium"; exit 1; }
	$(BIN)/pytest tests -m browser

notebooks: | $(MADE)-tester
	$(BIN)/ruff format notebooks
	$(BIN)/python tools/execute.py
	$(BIN)/python tools/pictures.py
	$(BIN)/python tools/translate.py

exercises: | $(MADE)-tester
	$(BIN)/python tools/make_exercises.py
	$(BIN)/python tools/translate.py

editions: | $(MADE)-tester
	$(BIN)/python tools/translate.py

html: | $(MADE)-writer
	$(BIN)/python tools/pages.py site

bench: | $(MADE)-d2l
	$(BIN)/python benchmarks/bench.py

places: | $(MADE)-tester
	$(BIN)/python tools/places.py --write

class: | $(MADE)-hub
	$(BIN)/python tools/classroom.py $(STUDENTS)

# Every lower bound becomes the only version allowed. (pip ends a name at a space, so the
# file is named from here.)
oldest:
	mkdir -p .venv-oldest
	grep -hoE '[a-z0-9-]+>=[0-9.]+' requirements.txt pyproject.toml | sed 's/>=/==/' \
		> .venv-oldest/constraints.txt
	PIP_CONSTRAINT=.venv-oldest/constraints.txt $(MAKE) test VENV=.venv-oldest

environment: | $(MADE)-reader

$(MADE)-reader: | $(HERE)
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

$(MADE)-writer: | $(MADE)-reader
	$(BIN)/python -m pip install -e '.[html]'
	touch $@

# d2l pins old versions of its requirements, so it comes without them.
$(MADE)-d2l: | $(MADE)-reader
	$(BIN)/python -m pip install -e '.[bench]'
	$(BIN)/python -m pip install --no-deps d2l==1.0.3
	touch $@

$(MADE)-tester: | $(MADE)-d2l
	$(BIN)/python -m pip install -e '.[test,classroom]'
	touch $@

$(MADE)-hub: | $(MADE)-tester
	@command -v npm > /dev/null || { echo "make class needs npm: apt install npm"; exit 1; }
	$(BIN)/python -m pip install -e '.[hub]'
	npm install --global --prefix $(VENV) configurable-http-proxy
	touch $@

$(MADE)-browser: | $(MADE)-tester
	$(BIN)/python -m pip install -e '.[browser]'
	touch $@

$(HERE):
	if [ -e $(BIN)/pip ]; then $(BIN)/python tools/moved.py; \
		else $(PYTHON) -m venv $(VENV); fi
	rm -f $(VENV)/here-*
	touch $@
