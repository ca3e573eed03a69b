# make book: the environment in .venv, the chapters executed, _build/html/index.html written.  make test: the tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin

.PHONY: book test lint environment constraints clean

# one thread each: where a core is busy, threads that wait for each other are ten times slower
book: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m eplib book

test: environment
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: environment
	$(BIN)/ruff check .

environment: .venv/.done

# compiled once: where Python may not keep what it compiles, every chapter would compile PyTorch anew
.venv/.done: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3 is installed: install Python 3.11, or name another with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { echo "make: $(PYTHON) is not Python 3.11 to 3.13: name one with make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --compile-bytecode --constraint constraints.txt --editable '.[test]'
	touch $@

# pins of the last tested environment; run after changing pyproject.toml
constraints: 
	$(BIN)/uv pip compile pyproject.toml --all-extras --no-header --no-annotate --no-emit-index-url --output-file constraints.txt

clean:
	rm -rf _build
