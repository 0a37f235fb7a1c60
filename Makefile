# Two commands on a fresh machine: `make demo` runs the main job, `make test` the tests.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
# without setuptools' banner on editable installations
PIP = PYTHONWARNINGS=ignore $(BIN)/pip install --quiet

.PHONY: demo test lint types unit backends long faults docs clean

demo: $(VENV)/installed
	$(BIN)/python -m pipeline.pretrain

test: lint types $(VENV)/installed-parity unit backends

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

# In parts, so that no process holds the graphs and models of the whole suite: TensorFlow keeps what
# it has compiled until its process ends.
PARTS = "tests/vit_keras tests/groundwork" \
	"tests/pipeline/serving tests/pipeline/test_*.py" \
	"tests/pipeline/run tests/pipeline/training" \
	"tests/pipeline/evaluation tests/pipeline/finetuning" \
	"$(filter-out $(addprefix tests/pipeline/,serving run training evaluation finetuning __pycache__), \
		$(patsubst %/,%,$(wildcard tests/pipeline/*/)))" \
	"tests/beam_jobs tests/docs tests/faults tests/test_*.py"

unit: $(VENV)/installed-test
	failed=0; for part in $(PARTS); do \
		$(BIN)/python -m pytest -n 2 --dist loadfile $$part || failed=1; \
	done; exit $$failed

# vit_keras' forward passes and weights on another backend than TensorFlow. Nothing runs twice, so
# that compiling without optimization is quicker.
backends: $(VENV)/installed-test
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu XLA_FLAGS=--xla_backend_optimization_level=0 \
		$(BIN)/python -m pytest -n 2 -m any_backend tests/vit_keras

# What `make test` leaves out, since a quicker test holds it too: some minutes.
long: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long

# The long form of the trials by fault: kills at random moments, and mutated images for ten minutes.
faults: $(VENV)/installed-test
	FAULTS_ROUNDS=$${FAULTS_ROUNDS:-50} SERVE_FUZZ_SECONDS=600 $(BIN)/python -m pytest -m "" \
		tests/faults tests/pipeline/serving/test_serve_fuzz.py

# The site, in docs/_build, with warnings as errors.
docs: $(VENV)/installed
	$(PIP) --editable ".[docs]"
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build

$(VENV)/installed: setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable ".[test]"
	touch $@

# Without these packages the tests of parity with PyTorch are skipped, and all others run.
$(VENV)/installed-parity: $(VENV)/installed-test
	$(PIP) --editable ".[parity]" && touch $@ || \
		echo "No CPU build of PyTorch: tell pip its index in PIP_EXTRA_INDEX_URL"

clean:
	rm -rf $(VENV) build dist *.egg-info
