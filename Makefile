# make demo   a recorded drive through the real node: out/demo/report.html   (BAG=path for yours)
# make test   everything that is checked
# make benchmark   what each prior of RoSAMDepth is worth: hours of training; stops and resumes anywhere
# Each sets up .venv first; nothing needs to be installed before but python3 (>= 3.10) and make.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
# Where torch comes from, if not from the package index: PyPI's build brings gigabytes of CUDA.
# For a machine without a GPU: make demo TORCH_INDEX=<address of PyTorch's CPU index>
TORCH_INDEX ?=
EXTRAS ?= ros,train,dev
# TensorRT's Python bindings of three versions (4 MB to download), without TensorRT itself.
BINDINGS := tensorrt-cu11-bindings tensorrt-cu12-bindings tensorrt-cu13-bindings
BAG ?=
# Further options of rosam demo: make demo BAG=drive.mcap DEMO_ARGS='--topic /rear/image --fov 70'
DEMO_ARGS ?=
OUT ?= out/demo

STAMP := $(VENV)/.installed
RUN := . $(VENV)/bin/activate &&

.PHONY: help venv bindings demo test test-all benchmark lint clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

venv: $(STAMP)

$(STAMP): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "need Python 3.10 or newer, found: $$($(PYTHON) --version 2>&1);" \
	    "name another with PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing: sudo apt install python3-venv"; exit 1; }
	@# venv writes pyvenv.cfg first and bin/activate last: with one alone it was interrupted.
	@if [ -f $(VENV)/pyvenv.cfg ] && ! [ -f $(VENV)/bin/activate ]; then clear=--clear; fi; \
	  [ -f $(VENV)/bin/activate ] && [ -x $(VENV)/bin/pip ] || $(PYTHON) -m venv $$clear $(VENV)
	$(if $(TORCH_INDEX),$(RUN) pip install --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# Each in a folder of its own, for they are one module; tests look names up in them.
bindings: $(VENV)/share/tensorrt-bindings/.installed

$(VENV)/share/tensorrt-bindings/.installed: constraints.txt | $(STAMP)
	@mkdir -p $(@D)
	@$(RUN) all=yes; for name in $(BINDINGS); do \
	  pip install --disable-pip-version-check -q --no-deps --upgrade -c constraints.txt \
	    --target $(@D)/$$name $$name || { all=; \
	  echo "no $$name for this machine: the tests of that version of TensorRT will be skipped"; }; \
	done; [ -z "$$all" ] || touch $@

demo: $(STAMP)
	$(RUN) rosam demo --out "$(OUT)" $(if $(BAG),--bag "$(BAG)") $(DEMO_ARGS)

lint: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) codespell

test: lint bindings
	$(RUN) python -m pytest -rs

# Every supported Python; PYTHON310=... and so on name an interpreter that is not on the PATH.
test-all: lint
	TORCH_INDEX=$(TORCH_INDEX) .ci/test_pythons 3.10 3.11 3.12

# Finished runs are rows in training/recipes/benchmark/rows; only what has none is trained.
benchmark: $(STAMP)
	$(RUN) python benchmarks/ablation.py

# What was built, not what was computed: out/ may hold days of training.
clean:
	rm -rf build dist install log *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
