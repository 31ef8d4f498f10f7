# `make` alone says what there is. Needs python3 (3.11 or newer, with venv) and nothing else.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
QUICK := out/quickstart
ARCH ?= 8.0;9.0+PTX
BENCHES := families generate host loader loaders_of_others metrics ops order penalties prepare scaling training

.PHONY: help quickstart setup native test quick check lint docs docs-serve bench format clean

help:
	@echo "make quickstart  install, then train on handwritten digits, generate and evaluate (CPU)"
	@echo "make setup       install into .venv, compile the operations this machine can use"
	@echo "make native      compile the CPU and CUDA operations, print what each CUDA kernel takes"
	@echo "make test        run the tests"
	@echo "make quick       format, lint, types and the first tests of every file, in 2 minutes"
	@echo "make check       format, lint, types, documents, CUDA and tests, as CI does"
	@echo "make lint        format, lint and types alone"
	@echo "make docs        build the documentation into out/site"
	@echo "make docs-serve  show the documentation on this machine, anew after each change"
	@echo "make bench       run the benchmarks, in 20 minutes"
	@echo "make format      format the code"
	@echo "make clean       remove .venv and caches; out/ and runs/ stay"

# Takes what is compiled already; without a compiler it says so, and operations run as plain PyTorch.
setup: $(INSTALLED)
	@$(BIN)/python -m ops.build

# Python compiles what is imported, when it is, instead of 18,000 files here. Where it is told to write nothing, as in
# many containers, they are compiled now: every program would take ten seconds longer to start. Some files are for
# other versions of Python and do not compile.
$(INSTALLED): pyproject.toml tools/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-compile \
		-e '.[eval,demo,heic,sources,cloud,deepspeed,slurm,dev,docs]' -c tools/constraints.txt
	@test -z "$$PYTHONDONTWRITEBYTECODE" || $(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@touch $@

# Each step goes on where it was stopped, and passes over what is done.
quickstart: setup
	$(BIN)/hrgan prepare demo:digits $(QUICK)/data
	$(BIN)/hrgan train configs/quickstart.yaml --run $(QUICK)/run
	$(BIN)/hrgan generate $(QUICK)/run $(QUICK)/generated --count 1000
	$(BIN)/hrgan generate $(QUICK)/run $(QUICK)/grid.png --count 64 --grid
	$(BIN)/hrgan evaluate $(QUICK)/run --data $(QUICK)/data --metrics swd,msssim
	@echo
	@echo "Picture of samples:     $(QUICK)/grid.png"
	@echo "Data set of samples:    $(QUICK)/generated (1,000 images in shards)"
	@echo "Curves and samples:     $(BIN)/hrgan board $(QUICK)/run"

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(STRICT)

# Before a commit, not before a merge: every room has its say, see tests/quick.py.
quick: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --quick

# For common GPUs, whether one is here or not; fails if anything does not compile.
native: $(INSTALLED)
	$(BIN)/python -m ops.build --cpu --cuda --arch "$(ARCH)" --report

# What is not a test runs beside the tests, in the time that they leave: many wait for processes to end. A test may be
# skipped for want of a GPU, and for nothing else.
check: setup
	@nice -n 19 $(MAKE) -j2 --output-sync native lint docs & beside=$$!; \
		$(MAKE) test STRICT=--strict-skips; tests=$$?; \
		wait $$beside && exit $$tests

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A broken link or a page that nothing leads to is an error. Needs no network.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet -f docs/mkdocs.yml

docs-serve: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve -f docs/mkdocs.yml -a localhost:8000

# Within 20 minutes on two cores: each benchmark has minutes of its own, and names what finds no time.
bench: setup
	@set -e; for bench in $(BENCHES); do echo "== tools.bench.$$bench"; \
		$(BIN)/python -m tools.bench.$$bench --json out/bench/$$bench.json; done

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
