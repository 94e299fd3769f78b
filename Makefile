# Two commands: `make demo` and `make test`. Both create what they need.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed-dev
RUNS := $(VENV)/.installed
WSIS := $(VENV)/bin/wsis
STORE ?= runs

.PHONY: demo test test-slow test-services gpu-check lint install results docs

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

# What a run needs; the tests need more
$(RUNS): pyproject.toml constraints.txt
	@echo 'installing into $(VENV): some minutes, pip says what it does'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e .
	if $(VENV)/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(PIP) install -c constraints.txt -e '.[gpu]'; fi
	touch $@

$(STAMP): $(RUNS)
	$(PIP) install -c constraints.txt -e '.[dev]'
	$(PIP) check
	touch $@

install: $(STAMP)

demo: $(RUNS)
	$(WSIS) run demo --name demo --store $(STORE)
	$(WSIS) report demo --store $(STORE)

# The rows of docs/results.md: make results DATA=VOCdevkit/VOC2012 SBD=SBD/dataset (hours; goes on after Ctrl-C)
ANIMALS := --set data.train_list=voc_animals_train --set data.val_list=voc_animals_val \
	--set data.on_unknown_class=ignore --set 'data.classes=[cat,cow,dog,horse,sheep]'
results: $(STAMP)
	$(if $(DATA),,$(error expected DATA=FOLDER, a VOC devkit such as VOCdevkit/VOC2012))
	$(WSIS) ablations voc_lite --set data.root=$(DATA) $(ANIMALS) $(if $(SBD),--set data.sbd_root=$(SBD)) --store $(STORE)

# The pages of docs/ as a site in build/site; links and anchors that lead nowhere are errors
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

test: $(STAMP)
	$(MAKE) --no-print-directory lint docs
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15

# Every benchmark to its end at tiny sizes, and what Prefect does beyond its core: minutes
test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m slow --durations 15

# A real Prefect server and worker, the whole demo five times: an hour and more
test-services: $(STAMP)
	$(VENV)/bin/python -m pytest -m service --durations 0

# On a machine with a GPU, ten minutes: tests, equality with the CPU, time and memory, one table; needs no network
GPU_PYTHON ?= $(VENV)/bin/python
gpu-check:
	$(GPU_PYTHON) benchmarks/gpu_check.py

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/mypy
	$(VENV)/bin/hadolint --config docker/hadolint.yaml docker/Dockerfile docker/Dockerfile.cpu
