# make demo           draw a small game, build a store from it and read it, in an environment made here
# make test           the gate: format, lint, types, layers, tests
# make test-slow      the tests that the gate leaves out because they take long
# make test-pythons   the gate's tests with each version of Python in PYTHONS that this machine has (TESTS: which)
# make release        wheel and sdist in dist/, checked, and each extra installed into an empty environment
# make test-interop   the tests beside other people's tools, in an environment of their own (INTEROP_VENV)
# make attacks        hostile input: the table of attacks, and COUNT changed inputs of each kind from SEED on
# make faults         kills, failing disks, power cuts, damage: writes the tables of docs/reliability.md (FAULTS)
# make long           a quarter of an hour: epochs, a large build, opens and readers, into docs/reliability.md (LONG)
#
# PYTHON chooses the interpreter (3.11 or newer) that the environment is made with, VENV where it stands.

PYTHON ?= python3
VENV ?= .venv
INTEROP_VENV ?= .venv-interop
RELEASE_VENV ?= .venv-release
PYTHONS ?= 3.11 3.12 3.13
TESTS ?= tests
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

COUNT ?= 100000
SEED ?= 0
RUNS ?= 2000

.PHONY: demo test test-slow test-pythons pytest release test-interop attacks faults long clean
.NOTPARALLEL:

demo: $(VENV)/.with-all
	$(BIN)/lmdb-reid demo --out data/demo --overwrite

test: $(VENV)/.with-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.with-dev
	$(BIN)/python -m pytest -m "slow and not gpu and not bench"

# A version has an environment by its name, such as .venv-3.12. pyenv's shims are there also for versions that do not run.
test-pythons:
	@tested=""; failed=""; absent=""; \
	for version in $(PYTHONS); do \
		found=""; \
		for at in "python$$version" "$$HOME"/.pyenv/versions/"$$version".*/bin/python /usr/bin/"python$$version"; do \
			if "$$at" -c "import sys; assert '%d.%d' % sys.version_info[:2] == '$$version'" 2>/dev/null; \
				then found="$$at"; break; fi; \
		done; \
		if [ -z "$$found" ]; then absent="$$absent $$version"; continue; fi; \
		echo "Python $$version: $$found"; \
		if $(MAKE) --no-print-directory pytest PYTHON="$$found" VENV="$(VENV)-$$version"; \
			then tested="$$tested $$version"; else failed="$$failed $$version"; fi; \
	done; \
	echo "passed:$${tested:- none}; failed:$${failed:- none}; not on this machine:$${absent:- none}"; \
	[ -n "$$tested" ] && [ -z "$$failed" ]

pytest: $(VENV)/.with-dev
	$(BIN)/python -m pytest $(TESTS)

release: $(RELEASE_VENV)/.with-release
	rm -rf dist
	$(RELEASE_VENV)/bin/python -m build --outdir dist .
	$(RELEASE_VENV)/bin/python -m twine check --strict dist/*
	$(RELEASE_VENV)/bin/python tests/release/extras.py dist/*.whl

attacks: $(VENV)/.with-dev
	$(BIN)/python -m pytest tests/attacks -s -m "slow or not slow"
	$(BIN)/python tests/attacks/mutate.py --count $(COUNT) --seed $(SEED)

faults: $(VENV)/.with-dev
	$(BIN)/python -m tests.faults --write $(FAULTS)
	FAULTS_RUNS=$(RUNS) FAULTS_STEPS=50 $(BIN)/python -m pytest tests/faults/test_machine.py

long: $(VENV)/.with-dev
	$(BIN)/python -m tests.long --write $(LONG)

test-interop: $(INTEROP_VENV)/.with-interop
	$(INTEROP_VENV)/bin/python -m pytest tests/interop

clean:
	rm -rf $(VENV) $(VENV)-3.* $(INTEROP_VENV) $(RELEASE_VENV) dist data/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One install each, so that pip weighs the constraints against everything at once. The stamp is written last: an
# install that was interrupted is taken up again by the next call.
$(VENV)/.with-all: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[all]'
	touch $@

$(VENV)/.with-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.with-all

# Packages that no extra of ours asks for, apart, so that they hold back none of those the gate runs with.
$(INTEROP_VENV)/.with-interop: pyproject.toml constraints.txt tests/interop/requirements.txt
	$(PYTHON) -m venv $(INTEROP_VENV)
	$(INTEROP_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
		-e '.[dev]' -r tests/interop/requirements.txt
	touch $@

# What makes and checks a release; the extras are installed into environments that end with the check.
$(RELEASE_VENV)/.with-release: constraints.txt
	$(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt build twine
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
