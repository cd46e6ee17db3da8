# Run `make` to see what it can do.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODEL ?= tiny-portraits
NOTEBOOKS ?= notebooks/*.ipynb notebooks/solutions/*.ipynb
# Workers of one thread each: the threads of one worker would wait for one another.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# JupyterLab refuses to run as root, as containers do, unless it is told that this is meant.
LAB_FLAGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)

# What the slides run on: too large to keep here, and the same for every notebook.
REVEAL := build/slides/reveal.js

# The kernel named python3 is the one in .venv, whatever else is installed on the machine.
export JUPYTER_PREFER_ENV_PATH = 1
# What is tested or stored draws no progress bars and asks no server for anything.
test notebooks: export CI = true
test notebooks: export HF_HUB_OFFLINE = 1
# No test compares seconds, so what the notebooks time is run once.
test: export TUTORIAL_ONCE = 1

.DEFAULT_GOAL := help
.PHONY: help lab app pictures screenshot test check lint notebooks html slides handout badges benchmark gpu-day model evaluate clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(INSTALLED) ## Install what is needed, once, and open the first notebook in JupyterLab
	@echo "Opening notebooks/00_start_here.ipynb in JupyterLab; Ctrl-C here ends it."
	@$(BIN)/jupyter lab $(LAB_FLAGS) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

app: $(INSTALLED) ## Serve the playground alone, as a page (APP_FLAGS=--Voila.ip=0.0.0.0 for a room)
	@echo "Serving the playground at http://localhost:8866; Ctrl-C here ends it."
	@$(BIN)/voila notebooks/08_playground.ipynb --Voila.config_file_paths='["app"]' $(APP_FLAGS)

pictures: $(INSTALLED) ## Draw the README's pictures again
	@$(BIN)/python -m tools.pictures

screenshot: $(INSTALLED) ## Take the picture of the playground for the README, in Chromium
	@$(BIN)/pytest -q tests/widgets/test_browser.py -k app_the_playground --screenshot docs/playground.png

test: lint ## Check everything: style, units, docstrings' examples, every notebook's outputs
	@$(PYTEST) --durations=10 --nbval --nbval-current-env $(NOTEBOOKS) helpers labs tools training tests

check: $(INSTALLED) ## Tell in a minute whether this machine is ready: packages, kernel, disk, browser, a picture
	@$(BIN)/python -m tools.check

lint: $(INSTALLED) ## Check style and types, notebooks included
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

notebooks: $(INSTALLED) ## Run the notebooks again and store their outputs (NOTEBOOKS=... for one)
	@$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.store_widget_state=False $(NOTEBOOKS)

html: $(INSTALLED) ## Write the notebooks as web pages into build/html
	@$(BIN)/python -m tools.pages $(NOTEBOOKS)

slides: $(INSTALLED) $(REVEAL) ## Write the notebooks as slides into build/slides; npm is needed once
	@$(BIN)/python -m tools.slides $(filter-out notebooks/solutions/%,$(NOTEBOOKS))

handout: $(INSTALLED) ## Write the page to hand out into build/handout, as HTML and PDF
	@$(BIN)/python -m tools.handout

badges: ## Link README and notebooks to Colab, at the address in pyproject.toml
	@$(PYTHON) tools/colab.py

benchmark: $(INSTALLED) ## Measure this machine with the notebooks, into results/ (MODEL=sd15-shape)
	@$(BIN)/python -m tools.benchmark --model $(MODEL)

gpu-day: $(INSTALLED) ## Hold the forecasts against a GPU, into results/gpu_day (ARGS="--parts seconds memory")
	@$(BIN)/python -m tools.gpu_day $(ARGS)

model: $(INSTALLED) ## Train the embedded models from nothing (ARGS="--start models": from these)
	@$(BIN)/python -m training $(ARGS)

evaluate: $(INSTALLED) ## Measure the embedded models and write their model card
	@$(BIN)/python -m training.evaluate $(ARGS)

$(REVEAL):
	@command -v npm > /dev/null || { echo \
		"The slides need reveal.js, which npm fetches: install Node.js, once, then 'make slides' again."; exit 1; }
	@mkdir -p build/reveal
	@npm pack --silent --pack-destination build reveal.js@5.2.1 > /dev/null || { echo \
		"npm could not fetch reveal.js: go online, once, then 'make slides' again."; exit 1; }
	@tar -xzf build/reveal.js-5.2.1.tgz -C build/reveal package/LICENSE package/dist package/plugin/notes
	@mkdir -p $(@D) && mv build/reveal/package $@

clean: ## Remove what these commands made: .venv, build and caches
	@rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
		"Python 3.11 or newer is needed: install it, then 'make PYTHON=python3.11 $(MAKECMDGOALS)'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		"Python's venv is missing: install it, on Debian and Ubuntu with 'sudo apt-get install python3-venv'."; exit 1; }
	@echo "Installing the tutorial into .venv: a few minutes, and only this once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[app,fast,test,training]'
	@touch $@
