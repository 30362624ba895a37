# Every command sets up what it needs. Only Python 3.11 or newer and PyPI must be there.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin

.PHONY: demo test test-oldest test-browser bench figures lecture-figures notebook lint clean chromium

demo: .venv/installed  ## train the lecture's network with the lecture's Adam on MNIST
	$(BIN)/python examples/fit_mnist.py --optimizer Adam

test: .venv/installed  ## run the tests
	$(BIN)/python -m pytest

# The oldest pair that installs: tensorflow 2.21 requires keras 3.12.
OLDEST := .venv-oldest/bin
test-oldest: .venv-oldest/installed  ## run the tests on the oldest supported versions
	$(OLDEST)/python -m pytest

test-browser: .venv/installed chromium  ## open TensorBoard in a browser and look for the cards
	$(BIN)/python -m pytest -k browser tests/test_monitor.py

# The one thing that is not on PyPI; Debian's name for it.
chromium:
	command -v chromium && command -v chromedriver || { apt-get update && apt-get install -y chromium chromium-driver; }

figures: lecture-figures chromium  ## draw all pictures in docs/figures
	$(BIN)/python docs/screenshots.py

lecture-figures: .venv/installed  ## draw those of the lecture, for which no browser is needed
	$(BIN)/python docs/figures/lecture_figures.py

notebook: .venv/installed  ## open the lecture as a notebook
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook]'
	$(BIN)/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) examples/lecture.ipynb

bench: .venv/installed  ## compare the speed with Keras's own optimizers
	$(BIN)/python benchmarks/bench.py

lint: .venv/installed  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Written last, so that an interrupted installation is not taken for a complete one.
.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

.venv-oldest/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	$(OLDEST)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' tensorflow==2.21.0 keras==3.12.0
	touch $@

clean:  ## remove what the other commands made
	rm -rf .venv .venv-oldest .pytest_cache .ruff_cache *.egg-info
