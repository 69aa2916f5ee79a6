# The commands of this project. Each installs what it needs into .venv first.
#
#   make demo        build, verify and report the demo data set in $(OUT)
#   make demo-s3     the same in a real S3 server on this machine
#   make demo-train  build pairs, train two networks on them, compare them on held-out prompts
#   make cost-curve  evaluations spent on data against the trained gain, for each judging policy
#   make test        run all tests
#   make test-fast   run the tests that start no Ray and no S3 server
#   make test-gpu    run the tests that need a GPU
#   make soak        inject faults into real processes for SECONDS seconds, drawn from SEED
#   make check       check lint, format, types, the direction of imports, and links of the docs
#   make format      fix lint and format where a tool can
#   make docs        build the HTML site with the API reference in out/site

SECONDS ?= 600
SEED ?= 1
PYTHON ?= $(shell command -v python3.11 || command -v python3)
OUT ?= out/demo
TRAIN_OUT ?= out/demo_train
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_DOCS := $(VENV)/.ready-docs

# One thread a process: the workers are the parallelism.
export OMP_NUM_THREADS := 1
# Hubs are never asked: every model is a local folder.
export HF_HUB_OFFLINE := 1
# KubeRay's definition of a RayJob, where it is at hand: infra/README.md.
export NPD_RAYJOB_CRD ?= $(abspath $(wildcard ../shared/schemas/ray.io_rayjobs.yaml))

.PHONY: demo demo-s3 demo-train cost-curve test test-fast test-gpu soak check format docs setup clean

demo: $(READY)
	$(BIN)/npd build demo --out '$(OUT)'
	$(BIN)/npd verify '$(OUT)'
	$(BIN)/npd report '$(OUT)' --config demo --guidance 5.5 --html

demo-s3: $(READY_DEV)
	$(BIN)/python -m infra.storage.seaweedfs --dir out/seaweedfs --bucket npd -- sh -ec '\
		$(BIN)/npd build demo --out s3://npd/demo; \
		$(BIN)/npd verify s3://npd/demo; \
		$(BIN)/npd report s3://npd/demo --picture out/demo-s3.png'

# The networks are trained at the same time, one a core; a step of the larger takes twice as long.
demo-train: $(READY)
	$(BIN)/npd build demo_train --out '$(TRAIN_OUT)/pairs'
	set -e; \
	for run in 'small 1600' 'two_branch 800'; do \
		set -- $$run; \
		$(BIN)/python -m jobs.train_npnet --data '$(TRAIN_OUT)/pairs' --layout $$1 --steps $$2 \
			--model pipeline/demo/model --out '$(TRAIN_OUT)'/$$1 & \
		jobs="$$jobs $$!"; \
	done; \
	for job in $$jobs; do wait $$job; done
	$(BIN)/npd evaluate --config demo_train --rewards demo --data '$(TRAIN_OUT)/pairs' \
		--npnet NPNet='$(TRAIN_OUT)/small' --npnet two-branch='$(TRAIN_OUT)/two_branch' \
		--prompts pipeline/demo/held_out.txt --steps 20 --plain-guidance 1.5 --guidance 5.5 \
		--limit-controls 256 --limit-guidance 128 --workers 2 --out '$(TRAIN_OUT)/trial'

cost-curve: $(READY)
	$(BIN)/python -m benchmarks.cost_curve --out out/cost

# Two processes. A file runs in one of them; the longest files start first (tests/order.py).
test: $(READY_DEV)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: $(READY_DEV)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --fast

# Uses the installed torch: install one with CUDA into $(VENV) first.
test-gpu: $(READY_DEV)
	$(BIN)/pytest tests/gpu

soak: $(READY_DEV)
	$(BIN)/python -m tests.faults.real.soak --seconds $(SECONDS) --seed $(SEED)

check: $(READY_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/rumdl check --quiet .

format: $(READY_DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Built anew, so that no page of an earlier build stays. A warning fails, such as a broken link.
docs: $(READY_DOCS)
	rm -rf out/site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs . out/site
	@echo 'open out/site/index.html'

setup: $(READY_DEV)

# Installed again when the requirements change. The demo needs no test tools.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint infra/constraints.txt --editable

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml infra/constraints.txt | $(BIN)/python
	$(INSTALL) .
	touch $@

$(READY_DEV): pyproject.toml infra/constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev]'
	touch $@ $(READY)

$(READY_DOCS): pyproject.toml infra/constraints.txt | $(BIN)/python
	$(INSTALL) '.[docs]'
	touch $@ $(READY)

clean:
	rm -rf $(VENV) out
