# Everything that is done often. `make` alone lists it.
#
# The first target that needs Python builds .venv from requirements.lock (pinned versions and
# hashes); later calls see the stamp files and start at once. A changed lock installs again.

PYTHON ?= python3
SHARED ?= ../shared
ARGS ?=

BIN := .venv/bin
RUN := $(BIN)/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test coverage check format docs bench bench-backbone bench-count bench-mtd bench-speed bench-views bench-baselines bench-outliers bench-parity bench-ablations bench-export pictures environment adopt lock clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the two commands -----------------------------------------------------------------------------

demo: environment ## the main job on generated images; ends with the path of its report
	$(BIN)/protoanomalyncd demo --out demo_run $(ARGS)

# Small models on small images: more than two threads only wait for each other.
test: export OMP_NUM_THREADS ?= 2
test: environment ## all tests; `make test ARGS="-k mebin"` for some
	$(RUN) -m pytest $(ARGS)

coverage: export OMP_NUM_THREADS ?= 2
coverage: environment ## the tests again, and how many lines and branches of src they run
	@mkdir -p build
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report
	@$(BIN)/coverage json -q -o build/totals.json
	@$(RUN) -c 'import json; t = json.load(open("build/totals.json"))["totals"]; \
		print(*(f"{name}: {100 * t[have] / t[of]:.1f} %" for name, have, of in ( \
		("lines", "covered_lines", "num_statements"), \
		("branches", "covered_branches", "num_branches"))), sep=", ")'

# --- before a commit ------------------------------------------------------------------------------

check: environment ## lint, format, types, layers, and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(RUN) tools/check_repository.py

format: environment ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: environment ## HTML reference of the library from its docstrings -> build/docs
	$(RUN) tools/api_reference.py build/docs

# --- figures of the documentation (minutes to hours; they read $(SHARED)) -------------------------

bench: bench-backbone bench-mtd bench-speed bench-count bench-outliers ## every benchmark, one after the other

bench-speed: environment ## ours beside AnomalyNCD -> docs/benchmarks.md; ARGS="--reference CHECKOUT"
	$(RUN) -m research.benchmarks.speed --shared $(SHARED) --out docs/benchmarks.md $(ARGS)

bench-backbone: environment ## the embedded backbone beside others -> docs/backbone.md
	$(RUN) -m research.benchmarks.backbone --data $(SHARED)/data --weights $(SHARED)/weights \
		--maps $(SHARED)/maps --out docs/backbone.md $(ARGS)

bench-count: environment ## estimates of the number of classes -> docs/count.md; goes on where it stopped
	$(RUN) -m research.benchmarks.count --data $(SHARED)/data --cache build/count --out docs/count.md $(ARGS)

bench-outliers: environment ## unseen types of defect on MTD, each left out in turn -> docs/outliers.md
	$(RUN) -m research.benchmarks.outliers --data $(SHARED)/data --out docs/outliers.md $(ARGS)

bench-mtd: environment ## the main job on MTD over five seeds -> docs/mtd.md
	$(RUN) -m research.benchmarks.mtd --data $(SHARED)/data --out docs/mtd.md $(ARGS)

bench-views: environment ## NMI by the number of stored views -> docs/views.md
	$(RUN) -m research.benchmarks.choose_views --per_type 8 --labelled_per_type 5 --epochs 15 \
		--out docs/views.md $(ARGS)

BASELINES := build/baselines
bench-baselines: environment ## published and plain methods on given maps -> docs/baselines.md
	$(BIN)/protoanomalyncd prepare mtd $(SHARED)/data/mtd $(BASELINES)/mtd
	$(BIN)/protoanomalyncd prepare neu_seg $(SHARED)/data/neu_seg $(BASELINES)/neu
	$(RUN) -m research.benchmarks.baselines --images $(BASELINES)/mtd --labelled $(BASELINES)/neu \
		--maps own mtd_resnet18=$(SHARED)/maps/mtd_resnet18 mtd_fused=$(SHARED)/maps/mtd_fused \
		--work $(BASELINES)/runs --out docs/baselines.md $(ARGS)

REFERENCE ?= CHECKOUT
bench-parity: environment ## AnomalyNCD's own code beside our configuration of it -> docs/parity.md; REFERENCE=its checkout
	$(BIN)/protoanomalyncd prepare mtd $(SHARED)/data/mtd $(BASELINES)/mtd
	$(BIN)/protoanomalyncd prepare neu_seg $(SHARED)/data/neu_seg $(BASELINES)/neu
	$(RUN) -m research.benchmarks.baselines --images $(BASELINES)/mtd --labelled $(BASELINES)/neu \
		--maps mtd_fused=$(SHARED)/maps/mtd_fused --rows "AnomalyNCD, as a configuration, 12 epochs" \
		--epochs 12 --reference $(REFERENCE) --precision bfloat16 \
		--backbone local-dir:$(SHARED)/weights/vit_tiny_patch16_224 --work $(BASELINES)/parity \
		--out docs/parity.md --command "make bench-parity REFERENCE=CHECKOUT" $(ARGS)

bench-ablations: environment ## the studies of research/configs/ablations -> docs/ablations.md; goes on where it stopped
	$(RUN) -m research.benchmarks.ablations --data $(SHARED)/data --work build/ablations --out docs/ablations.md $(ARGS)

bench-export: environment ## exported graphs beside torch -> docs/export.md; RUN and IMAGES by ARGS
	$(RUN) -m research.benchmarks.export --weights $(SHARED)/weights --out docs/export.md $(ARGS)

pictures: environment ## the pictures of docs/concepts
	$(RUN) -m research.benchmarks.concept_pictures --out docs/images $(ARGS)

# --- the environment ------------------------------------------------------------------------------

environment: .venv/.package ## .venv with everything pinned; no-op when nothing changed

.venv/.requirements: requirements.lock
	@command -v $(PYTHON) >/dev/null || { \
		echo "make: expected Python 3.11 or later, found no '$(PYTHON)'; install it, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: expected Python 3.11 or later, '$(PYTHON)' is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: '$(PYTHON)' has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@touch $@

# setuptools came with the lock: nothing is fetched to build the package.
.venv/.package: .venv/.requirements pyproject.toml
	$(RUN) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

adopt: ## take a .venv made by hand as it is (another build of torch: CONTRIBUTING.md)
	@test -x $(RUN) || { echo "make: expected an environment in .venv, found none; make it first: $(PYTHON) -m venv .venv" >&2; exit 1; }
	@$(RUN) -c 'import setuptools, torch, torchvision' || { \
		echo "make: expected setuptools, torch and torchvision in .venv; install them first" >&2; exit 1; }
	@touch .venv/.requirements
	$(MAKE) --no-print-directory environment

lock: ## write requirements.lock again; `make lock ARGS=--upgrade` takes the newest versions
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --disable-pip-version-check --quiet uv
	build/lock/bin/uv pip compile pyproject.toml --extra dev --output-file requirements.lock \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet $(ARGS)
	rm -rf build/lock

clean: ## remove what the commands wrote; keeps .venv
	rm -rf build dist demo_run demo_data .mypy_cache .ruff_cache
	find src tests research tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## and .venv too
	rm -rf .venv src/*.egg-info
