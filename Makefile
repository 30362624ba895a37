# Every command installs what it needs. Only Python 3.11 or newer and PyPI must be there.
# Another Python beside the first: make test PYTHON=python3.13 VENV=.venv-3.13
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PINS ?=

.PHONY: demo test test-full test-oldest test-browser bench figures lecture-figures explorer docs notebook lint dist clean chromium

demo: $(VENV)/runs  ## train the lecture's network with the lecture's Adam on MNIST
	$(BIN)/python examples/fit_mnist.py --optimizer Adam

test: $(VENV)/installed  ## run the tests
	$(BIN)/python -m pytest -m "not full"

test-full: $(VENV)/installed  ## and the same for every rule, and what takes long
	$(BIN)/python -m pytest

# The oldest pair that installs: tensorflow 2.21 requires keras 3.12.
test-oldest:  ## run the tests on the oldest supported versions
	$(MAKE) test-full VENV=.venv-oldest PINS="tensorflow==2.21.0 keras==3.12.0"

test-browser: $(VENV)/installed chromium  ## open TensorBoard in a browser and look for the cards
	$(BIN)/python -m pytest -k browser

# The one thing that is not on PyPI; Debian's name for it.
chromium:
	command -v chromium && command -v chromedriver || { apt-get update && apt-get install -y chromium chromium-driver; }

figures: lecture-figures chromium  ## draw all pictures in docs/figures
	$(BIN)/python docs/screenshots.py

lecture-figures: $(VENV)/installed  ## draw those of the lecture, for which no browser is needed
	$(BIN)/python docs/figures/lecture_figures.py
	$(BIN)/python docs/execute_notebook.py

explorer: $(VENV)/installed  ## write docs/explorer.html, the interactive page
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -c "from keras_lecture_opt import explorer; explorer.save('docs/explorer.html')"

docs: explorer  ## build the site, in site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/mkdocs build --strict --quiet

notebook: $(VENV)/runs  ## open the lecture as a notebook
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook]'
	$(BIN)/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) examples/lecture.ipynb

bench: $(VENV)/installed  ## compare the speed with Keras's own optimizers
	$(BIN)/python benchmarks/bench.py

lint: $(VENV)/installed  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Written last, so that an interrupted installation is not taken for a complete one.
$(VENV)/runs: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . $(PINS)
	touch $@

$(VENV)/installed: $(VENV)/runs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' $(PINS)
	touch $@

dist: $(VENV)/installed  ## build what is published, in dist/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check twine
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

clean:  ## remove what the other commands made
	rm -rf .venv* .mypy_cache .pytest_cache .ruff_cache build dist site *.egg-info
