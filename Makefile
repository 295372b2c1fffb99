# What can be done here; `make demo` and `make test` are the two to know. Needs Python 3.11 or later and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
LINT := .venv-lint

# PyTorch's own index has a build without CUDA; on Linux the ordinary one brings gigabytes of it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell grep -E '^torch==' constraints.txt)

help:
	@echo "make demo    an instrument from computed sounds, and its page; under 10 minutes, installs included"
	@echo "make test    all tests                    make quick   those that take no long computation"
	@echo "make lint    ruff, mypy, pydoclint        make bench   benchmarks"
	@echo "make system  qemu, gcc and Chromium by apt, for the tests that want a second opinion"
	@echo "make venv    only install                 make clean   remove what was installed and built"

demo: $(READY)
	$(BIN)/pochette demo $(DEMO)

# Each of two processes takes its half as it stands and steals when it is idle: what the tests of a file or a folder
# share is made once, where dealing them out by turns makes it in both.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: $(READY_DEV)
	$(PYTEST) $(TESTS)

quick: $(READY_DEV)
	$(PYTEST) -m "not slow and not system" $(TESTS)

bench: $(READY_DEV)
	@$(PIP) install --quiet -c constraints.txt -e '.[bench]' || echo "Other runtimes cannot be had: their columns stay empty."
	$(BIN)/python benchmarks/make_sax.py $(BENCH)
	$(BIN)/python benchmarks/publish.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/engine.py $(ENGINE)
	$(BIN)/python benchmarks/bearing.py --counts --fits
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/models_page.py
	$(BIN)/python benchmarks/precision.py --measure
	$(BIN)/python benchmarks/techniques.py
	$(BIN)/python benchmarks/techniques_page.py
	$(BIN)/python benchmarks/criterion.py
	$(BIN)/python benchmarks/relations.py
	$(BIN)/python benchmarks/lottery.py
	$(BIN)/python benchmarks/lottery_page.py --facts

lint: $(READY_DEV) $(LINT)/.ready
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(LINT)/bin/pydoclint --config pyproject.toml --quiet src

venv: $(READY_DEV)

# The compilers and emulators that pip brings suffice for everything but the second opinions of these.
system:
	@command -v apt-get >/dev/null || { echo "This is no Debian: install qemu-system-arm, qemu-user, gcc, make," \
	  "gcc-arm-none-eabi with newlib, gcc-aarch64-linux-gnu with its C library, and chromium by your own means."; exit 1; }
	@sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends \
	  gcc libc6-dev make qemu-system-arm qemu-user gcc-arm-none-eabi libnewlib-arm-none-eabi \
	  gcc-aarch64-linux-gnu libc6-dev-arm64-cross chromium

clean:
	rm -rf $(VENV) $(LINT) build dist demo src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pochette needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	  "Install one and name it: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "The virtual environment could not be made. On Debian: apt install python3-venv"; exit 1; }

$(READY): pyproject.toml constraints.txt | $(VENV)/bin/python
	@if [ "$$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])' 2>/dev/null)" \
	    = "$(TORCH:torch==%=%)" ]; then :; \
	elif $(BIN)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/torch/", timeout=5)' \
	    $(TORCH_INDEX) 2>/dev/null \
	  && $(PIP) install --no-deps --index-url $(TORCH_INDEX) "$(TORCH)"; then :; \
	else \
	  echo "PyTorch's own index cannot be used; asking the ordinary one."; \
	  if $(PIP) install --dry-run --quiet --report - -c constraints.txt "$(TORCH)" | grep -qE '"name": "(nvidia|cuda)'; then \
	    echo "The ordinary index would bring gigabytes of CUDA, which nothing here needs. Make $(TORCH_INDEX) reachable," \
	      "or name a mirror of it: make TORCH_INDEX=URL ..."; exit 1; \
	  fi; \
	  $(PIP) install -c constraints.txt "$(TORCH)"; \
	fi
	$(PIP) install --quiet -c constraints.txt -e '.[train,compile]'
	@$(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' || echo "Note: this torch was built" \
	  "with CUDA; it works, but 'make clean' and a reachable $(TORCH_INDEX) would save gigabytes."
	@touch $@

$(READY_DEV): $(READY)
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

# pydoclint and tyro need two different packages of the same name.
$(LINT)/.ready: constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(LINT)
	$(LINT)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt pydoclint
	@touch $@

.PHONY: help demo test quick bench lint venv system clean
