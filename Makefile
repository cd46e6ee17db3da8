# Run `make` to see what it can do.

PYTHON ?= python3
BIN := .venv/bin
# Python compiles what it imports; compiling everything beforehand takes longer, and 0.4 GB.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
READER := .venv/.reader
EVERYTHING := .venv/.everything
NOTEBOOKS ?= notebooks/*.ipynb notebooks/solutions/*.ipynb
# As many workers as a machine of two cores can feed, each with one thread.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile
# PyTorch without CUDA, which has an index of its own.
PYTORCH_CPU := https://download.pytorch.org/whl/cpu
# JupyterLab does not run as root, the usual user in a container, without this flag.
LAB_FLAGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)

# The kernel named python3 is the one in .venv, whatever else is installed on the machine.
export JUPYTER_PREFER_ENV_PATH = 1
# Tests and stored outputs show no progress bars and need no server.
test notebooks: export CI = true
test notebooks: export HF_HUB_OFFLINE = 1

.DEFAULT_GOAL := help
HOST ?= localhost
PORT ?= 8000
# The page's JavaScript is linted and tested where npm is installed.
WEB := $(if $(shell command -v npm),web/node_modules)

.PHONY: help lab test check fast page notebooks lint html badges pictures model evaluate clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(READER) ## Install what the notebooks need, once, and open the first one in JupyterLab
	@echo "Opening notebooks/00_start_here.ipynb in JupyterLab. Press Ctrl-C here to stop it."
	@$(BIN)/jupyter lab $(LAB_FLAGS) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: $(EVERYTHING) $(WEB) ## Install everything, once, and run all tests, lint included
	@failed=0; $(MAKE) --no-print-directory lint || failed=1; \
	$(PYTEST) --durations=10 --nbval --nbval-current-env $(NOTEBOOKS) helpers labs tools training tests || failed=1; \
	exit $$failed

check: $(READER) ## Check in a minute whether this machine is ready
	@$(BIN)/python -m tools.check

fast: .venv/.fast ## Install OpenVINO, for the notebook about speed

notebooks: $(EVERYTHING) ## Run the notebooks and store their outputs (NOTEBOOKS=... for one of them)
	@$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS)

lint: $(EVERYTHING) $(WEB) ## Check the style of code and notebooks
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(if $(WEB),npm run --prefix web --silent lint)

page: .venv/.web web/node_modules ## Build the page that generates images in any browser, and serve it (HOST=0.0.0.0 for a room, PORT=8001 for another port)
	@$(BIN)/python -m tools.page both --host $(HOST) --port $(PORT)

html: .venv/.site ## Build a site of the notebooks, with search, in build/html; with the page if it was built
	@$(BIN)/python -m tools.site

badges: $(READER) ## Link README and notebooks to Colab, at the address in pyproject.toml
	@$(BIN)/python tools/colab.py

pictures: $(READER) ## Generate the README's portraits, and the animation of how they form
	@$(BIN)/python -m tools.pictures

model: $(EVERYTHING) ## Train the embedded models (ARGS="--start models" to train them further)
	@$(BIN)/python -m training $(ARGS)

evaluate: $(EVERYTHING) ## Measure the embedded models and write their model cards
	@$(BIN)/python -m training.evaluate $(ARGS)

clean: ## Remove .venv, build and caches
	@rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READER): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
		"Python 3.11 or newer is needed: install it, then run 'make PYTHON=python3.11 $(MAKECMDGOALS)'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"Python's venv is missing: on Debian and Ubuntu, install it with 'sudo apt-get install python3-venv'."; exit 1; }
	@echo "Installing the tutorial into .venv. This takes a few minutes, and only the first time."
	@$(PYTHON) -m venv .venv
	@if [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null && [ ! -e /proc/driver/nvidia ]; then \
		$(PIP) --no-deps --index-url $(PYTORCH_CPU) --timeout 10 --retries 0 torch 2>/dev/null || echo \
		"PyTorch's index of CPU builds is out of reach, so PyTorch comes from the default index and may be larger."; fi
	@$(PIP) --editable .
	@touch $@

.venv/.%: $(READER)
	@$(PIP) --editable '.[$*]'
	@touch $@

web/node_modules: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo \
		"npm is missing, which fetches ONNX Runtime Web: install Node.js, then 'make page' again."; exit 1; }
	@npm ci --prefix web --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(EVERYTHING): $(READER)
	@$(PIP) --editable '.[fast,site,test,training,web]'
	@touch $@
