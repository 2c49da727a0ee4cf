# `make` lists what there is. Everything lives in .venv and build/, so a clone stays a clone; the
# same commands work again, rebuild what has changed, and need no network when nothing has.
#
#   make demo PYTHON=python3.12    another Python, 3.11 or newer
#   make test TESTS=tests/test_cli.py ARGS="-x -k hostile"
#   make test WORKERS=0 ARGS=-s    in one process, which shows what tests print
#   make models MODELS=~/models ARGS="--only DTLN"

PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests
ARGS ?=
WORKERS ?= auto
CASES ?= 10000
MODELS ?= ../shared/models

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check install --constraint tests/requirements.txt
# A file's tests stay together in one process: they share what its fixtures compiled. conftest.py
# has put the files in order.
PYTEST = $(VENV)/bin/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# What the examples' own Makefiles are told of this one.
# Not abspath, which takes a path with a space for two.
HERE = $(if $(filter /%,$(firstword $(VENV))),,$(CURDIR)/)
ON_A_BOARD = PYTHON="$(HERE)$(RUN)" BUILT="$(HERE)$(VENV)/built"
C_FILES = $(shell find c_src tests/c bench lstmc examples -name build -prune -o \
	\( -name '*.[ch]' -o -name '*.cpp' \) -print)
SOURCES := $(shell find c_src lstmc converters -type f \
	\( -name '*.[ch]' -o -name '*.py' -o -name '*.py[ix]' -o -name '*.pxi' -o -name '*.json' -o -name py.typed \) | sort)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo train vad denoise arduino firmware train-firmware vad-firmware test sweep conformance lint lint-c format bench models wheel clean list

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

demo: $(VENV)/built ## build lstmc into .venv and forecast Seattle's weather with it
	@$(RUN) examples/weather/demo.py

train: $(VENV)/built $(VENV)/taught-with ## train the forecaster from scratch, plot it, run it on a Cortex-M4F: build/train
	@$(RUN) examples/weather/teach.py --out build/train
	@$(MAKE) --no-print-directory -C examples/firmware $(ON_A_BOARD) BUILD=../../build/train/firmware \
	    MODEL=../../build/train/forecaster.lstmc $(ARGS)

vad: $(VENV)/built $(VENV)/heard-with ## find the speech in a wav file with silero-vad: build/vad.png
	@mkdir -p build
	@$(RUN) examples/vad/vad.py -o build/vad.png $(ARGS)

denoise: $(VENV)/built ## MODELS=DTLN/pretrained_model: take speech out of noise: build/clean.wav
	@mkdir -p build
	@$(RUN) examples/denoise/denoise.py --models "$(MODELS)" -o build/clean.wav $(ARGS)

arduino: $(VENV)/built ## an Arduino library with a sketch that forecasts: build/arduino/lstmc.zip
	@mkdir -p build/arduino
	@$(RUN) -P -m lstmc convert examples/weather/forecaster.pt -o build/arduino/forecaster.lstmc >/dev/null
	@$(RUN) -P c_src/arduino/layout.py build/arduino/forecaster.lstmc -o build/arduino

firmware: $(VENV)/built ## the weather forecaster as firmware of a Cortex-M4F, run in QEMU: build/firmware
	@$(MAKE) --no-print-directory -C examples/firmware $(ON_A_BOARD) BUILD=../../build/firmware $(ARGS)

train-firmware: $(VENV)/built ## a forecaster that learns on a Cortex-M4F in QEMU: build/train-firmware
	@$(MAKE) --no-print-directory -C examples/firmware-train $(ON_A_BOARD) \
	    BUILD=../../build/train-firmware $(ARGS)

vad-firmware: $(VENV)/built $(VENV)/heard-with ## silero-vad as firmware of a Cortex-M7, over the same wav file
	@$(MAKE) --no-print-directory -C examples/vad/firmware $(ON_A_BOARD) \
	    BUILD=../../../build/vad-firmware $(ARGS)

test: $(VENV)/built $(VENV)/tested-with ## every test, C and Python, against the live frameworks
	@$(PYTEST) $(TESTS) $(ARGS)

sweep: $(VENV)/built $(VENV)/tested-with ## exp, tanh and sigmoid of all 2^32 inputs on every target (ten minutes)
	@LSTMC_FULL_SWEEP=1 $(PYTEST) tests/test_math.py tests/test_activations.py $(ARGS)

conformance: $(VENV)/built $(VENV)/tested-with ## CASES=10000 random cases of each kind, with a new seed (hours)
	@LSTMC_CASES=$(CASES) $(PYTEST) tests/test_random_*.py tests/test_recurrent.py $(ARGS)

lint: $(VENV)/linted-with ## ruff, mypy and clang-format, changing nothing
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES)
	@$(VENV)/bin/mypy --no-error-summary --ignore-missing-imports lstmc converters

lint-c: $(VENV)/c-linted ## the C core by strict warnings of GCC and Clang, cppcheck, clang-tidy

format: $(VENV)/linted-with ## lay out all Python and C files
	@$(VENV)/bin/ruff format --quiet .
	@$(VENV)/bin/clang-format -i $(C_FILES)

bench: $(VENV)/built $(VENV)/benched-with ## speed beside PyTorch, ONNX Runtime, OpenVINO and LiteRT
	@$(RUN) bench/bench.py $(ARGS)
	@$(RUN) bench/training.py

models: $(VENV)/built $(VENV)/tested-with ## MODELS=DIR real models converted and timed: docs/MODELS.md
	@$(RUN) bench/models.py --models "$(MODELS)" $(ARGS)

wheel: $(VENV)/ready ## a wheel for this platform in dist/
	@rm -rf build/lib* build/bdist*
	@$(RUN) -m pip --quiet --disable-pip-version-check wheel --no-build-isolation --no-deps -w dist .
	@ls dist/*.whl

clean: ## remove .venv and everything built
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------ the environment

# What Debian and Ubuntu leave out of python3 is named together, in one line.
$(VENV)/ready: tests/requirements.txt
	@command -v "$(PYTHON)" >/dev/null || \
	    { echo "make: no $(PYTHON) here; on Debian: apt-get install python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make: lstmc needs Python 3.11 or newer; give one with: make PYTHON=python3.12" >&2; exit 1; }
	@need=""; \
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || need="$$need python3-venv"; \
	"$(PYTHON)" -c 'import os, sysconfig as s; open(os.path.join(s.get_path("include"), "Python.h"))' \
	    2>/dev/null || need="$$need python3-dev"; \
	{ printf '#include <stdlib.h>\n' | $(CC) -E - >/dev/null 2>&1; } || need="$$need gcc libc6-dev"; \
	[ -z "$$need" ] || { echo "make: something is missing; on Debian: apt-get install$$need" >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(PIP) setuptools cython numpy
	@touch $@

# The names of all sources: written anew when one comes or goes, so that nothing stale stays behind.
list:
$(VENV)/sources: list | $(VENV)/ready
	@echo "$(SOURCES)" | cmp -s - $@ || echo "$(SOURCES)" >$@

$(VENV)/built: $(SOURCES) $(VENV)/sources setup.py pyproject.toml | $(VENV)/ready
	@echo "building lstmc ..."
	@rm -rf build/lib* build/bdist*
	@$(PIP) --no-build-isolation ".[convert]"
	@touch $@

$(VENV)/tested-with: tests/requirements.txt | $(VENV)/ready
	@echo "installing the frameworks that the tests compare with ..."
	@$(PIP) torch
	@$(PIP) --requirement tests/requirements.txt
	@touch $@

# The weather, and what draws the picture.
$(VENV)/taught-with: tests/requirements.txt | $(VENV)/ready
	@$(PIP) --no-deps vega_datasets
	@$(PIP) matplotlib || echo "make: no picture: matplotlib can't be installed"
	@touch $@

# silero-vad brings its models; what it requires itself (torch) isn't needed to run them here.
$(VENV)/heard-with: tests/requirements.txt | $(VENV)/ready
	@$(PIP) --no-deps silero-vad
	@$(PIP) matplotlib onnxruntime || echo "make: no picture or no comparison: one can't be installed"
	@touch $@

$(VENV)/linted-with: tests/requirements.txt | $(VENV)/ready
	@$(PIP) ruff mypy clang-format
	@touch $@

$(VENV)/c-linted: $(shell find c_src -name '*.[ch]') .clang-tidy tests/lint_c.py | $(VENV)/ready
	@$(RUN) -P tests/lint_c.py
	@touch $@

# A peer that has no build for this machine is named here, and again in the table's head.
$(VENV)/benched-with: bench/requirements.txt tests/requirements.txt | $(VENV)/ready
	@echo "installing the peers that the benchmark compares with ..."
	@$(PIP) torch || echo "make: torch can't be installed here: the benchmark goes without"
	@sed '/^#/d' bench/requirements.txt | while read -r peer; do \
	    $(PIP) "$$peer" || echo "make: $$peer can't be installed here: the benchmark goes without"; \
	done
	@touch $@
