# `make demo`: everything from nothing to masks on generated pictures. `make test`: the tests. `make lint`: the linters.
# `make docs`: the documentation, to site/index.html. `make dist`: the wheel and the sdist, to dist/.
PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.installed
READY := .venv/.ready

.PHONY: demo test lint docs dist

demo: $(CORE)
	$(BIN)/dsrg make-demo-data --root data/demo --train 240 --val 80
	$(BIN)/dsrg run-pipeline --cfg configs/demo/resnet18.yaml

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(READY)
	$(BIN)/python -m build

$(CORE): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[crf]' \
		|| { echo "pydensecrf could not be compiled; the CRF runs in PyTorch"; $(BIN)/python -m pip install --quiet --editable .; }
	touch $@

$(READY): $(CORE)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
