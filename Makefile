PYTHON ?= python3
# On Linux x86 pip brings the CUDA build of torch (about 3 GB). The CPU build alone, for a machine without a GPU:
#   make demo TORCH='torch torchvision --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple'
TORCH ?= torch torchvision
PIP_ARGS ?=
DATA ?=
MINUTES ?= 10
PORT ?= 8000

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo serve quality test lint types check format clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Make .venv with everything in it

demo: $(STAMP) ## The whole method on real photographs, into demo-output/ (DATA=/some/folder MINUTES=10)
	$(BIN)/passdown demo --minutes $(MINUTES) $(if $(DATA),--images '$(DATA)')

serve: $(STAMP) ## Keep the service up on 127.0.0.1:8000, its data in ./data (PORT=8000)
	$(BIN)/passdown serve --port $(PORT)

quality: $(STAMP) ## Train and probe the paper's methods on one folder (DATA=/some/folder MINUTES=10)
	@test -n '$(DATA)' || { echo 'Say which images: make quality DATA=/some/folder'; exit 1; }
	$(BIN)/python -m benchmarks.quality --data '$(DATA)' --budget $(MINUTES) --out quality-output $(if $(VOC),--voc '$(VOC)') \
		$(if $(HELD_OUT),--held-out $(HELD_OUT)) $(if $(NETWORKS),--networks $(NETWORKS))

test: $(STAMP) ## Run every test, against a real PostgreSQL and Valkey
	$(BIN)/python -m pytest

lint: $(STAMP) ## ruff, check and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

check: lint types test ## All three

format: $(STAMP) ## Let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what make made, but for ./data
	rm -rf $(VENV) demo-output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Passdown needs Python 3.11 or newer: set PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo 'no virtual environment: install the venv module (Debian: python3-venv)'; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) $(TORCH) -e '.[ml,embedded,demo,dev]'
	@touch $@
