# The commands of this project. Each sets up what it needs, and is quick when run again.
#
#   make demo      build, verify and report the demo data set into $(OUT)
#   make demo-s3   the same into a real S3 server on this machine
#   make demo-train  pairs, two networks trained on them, and a trial on held-out prompts
#   make test      all tests
#   make test-gpu  what only a machine with a GPU can show
#   make soak      faults of real processes for SECONDS seconds, drawn from SEED
#   make check     lint, format and types
#   make format    mend lint and format where a tool can

SECONDS ?= 600
SEED ?= 1
PYTHON ?= $(shell command -v python3.11 || command -v python3)
OUT ?= out/demo
TRAIN_OUT ?= out/demo_train
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# One thread a process: the workers are the parallelism.
export OMP_NUM_THREADS := 1
# Hubs are never asked: every model is a local folder.
export HF_HUB_OFFLINE := 1
# KubeRay's definition of a RayJob, where it is at hand: infra/README.md.
export NPD_RAYJOB_CRD ?= $(abspath $(wildcard ../shared/schemas/ray.io_rayjobs.yaml))

.PHONY: demo demo-s3 demo-train test test-gpu soak check format setup clean

demo: $(READY)
	$(BIN)/npd build demo --out '$(OUT)'
	$(BIN)/npd verify '$(OUT)'
	$(BIN)/npd report '$(OUT)' --config demo --guidance 5.5

demo-s3: $(READY)
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

# Two processes, each file in one of them, the longest first (tests/order.py).
test: $(READY)
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# With the torch that is installed: put one with CUDA into $(VENV) first.
test-gpu: $(READY)
	$(BIN)/pytest tests/gpu

soak: $(READY)
	$(BIN)/python -m tests.faults.real.soak --seconds $(SECONDS) --seed $(SEED)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(READY)

# Made anew when what is installed may have changed.
$(READY): pyproject.toml infra/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint infra/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out
