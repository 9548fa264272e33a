# secondsight: `make demo` shows what it does, `make test` checks that it does it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests start hundreds of processes: bytecode that is kept halves what each of them costs.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test wide agree conform conform-mutants adversaries wrong-drivers tables claims attack mutants reductions test-cluster docs docs-site operations bench gpu package install lint clean help

demo: install  ## The threads' decision tables, and one broken cell's trace
	@$(BIN)/secondsight settle

test: $(VENV)/.dev  ## ruff, mypy --strict, the tests but for those of `make wide` (pytest's status is kept for .ci/run)
	@rm -f $(VENV)/pytest-status
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder; status=$$?; echo $$status > $(VENV)/pytest-status; exit $$status

test-cluster: $(VENV)/.cluster  ## Searches on a local Ray cluster of two nodes, whose processes are killed; Ray is installed for it
	@rm -f $(VENV)/cluster-status
	@SECONDSIGHT_REQUIRE_RAY=1 $(BIN)/python -m pytest -m '' -n 0 tests/search/test_cluster_ray.py tests/attack/test_cluster_cuts.py; \
	  status=$$?; echo $$status > $(VENV)/cluster-status; exit $$status

wide: $(VENV)/.dev  ## The tests that `make test` leaves out: other releases, a kernel of our own, more programs
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m wide

agree: install  ## Drawn scenarios on the model and on a real kernel, compared; ARGS='--on linux-6.12,linux-6.1 --runs 20000'
	@$(BIN)/secondsight agree --on linux-6.12 --runs 2000 $(ARGS)

conform: install  ## The kernel's own C beside the model, all files and releases, every transition of the bounded configurations
	@$(BIN)/secondsight conform all --seconds 10 $(ARGS)

conform-mutants: install  ## Is every mutant of the kernel's C, and of the model, noticed? An hour
	@$(BIN)/secondsight conform linux-6.12 --mutants c $(ARGS)
	@$(BIN)/secondsight conform linux-6.12 linux-7.2 --mutants model $(ARGS)

lint: $(VENV)/.dev  ## ruff and mypy alone; the tests run them too
	@$(BIN)/ruff check .
	@$(BIN)/mypy

reductions: $(VENV)/.dev  ## Reductions against plain searches on everything here, and on thousands of small programs; hours
	@SECONDSIGHT_REDUCTIONS=all SECONDSIGHT_LAW=6000 $(BIN)/python -m pytest -m '' -n 2 tests/lang/test_reductions_everywhere.py \
	  tests/lang/test_reductions.py tests/lang/test_symmetry.py tests/lang/test_symmetry_classes.py tests/search/test_cluster_reduced.py

adversaries: $(VENV)/.dev  ## Each adversary's wrong driver against all others, and right drivers against everything; minutes
	@SECONDSIGHT_CONTRACT=all $(BIN)/python -m pytest -m '' -n 2 tests/contract/test_wrong_drivers.py tests/contract/test_mutants.py tests/contract/test_design_mutants.py

wrong-drivers: $(VENV)/.dev  ## Every small wrong driver, and the right one beside it, of which `make test` has a sample
	@SECONDSIGHT_CONTRACT=rows $(BIN)/python -m pytest -m '' -n 2 tests/contract/test_wrong_drivers.py

claims: $(VENV)/.dev  ## Every trace of the wrong drivers as a claim, and parts of many runs; minutes
	@SECONDSIGHT_CLAIMS=all $(BIN)/python -m pytest -m '' -n 2 tests/claims/test_claims_printed.py tests/claims/test_claims_of_tables.py

tables: $(VENV)/.dev  ## Every cell and every claim of all tables, every trace replayed, each driver's code compiled once; two minutes
	@SECONDSIGHT_CONTRACT=all $(BIN)/python -m pytest -m '' -n 2 tests/cases tests/world/test_shapes.py

attack: install  ## Generated programs against an interpreter of their own, and searches cut short; ARGS='--seed 7 --seconds 60'
	@$(BIN)/python -m attack $(ARGS)

mutants: install  ## The executors with one thing changed, against the same laws, into docs/mutants.md; an hour or two
	@$(BIN)/python -m attack.mutants --results $(VENV)/mutants.json --write docs/mutants.md $(ARGS)

bench: install  ## The mirror protocol on our executors, Spin and Rumur, side by side; ARGS=--full for the long runs
	@$(BIN)/python -m bench.run $(ARGS)

PROGRAM ?= mirror F

gpu: install  ## A search on a CUDA card, built by nvcc into build/gpu; PROGRAM='zero-page: two engines' (`python -m bench.gpu --list` has all)
	@$(BIN)/python -m bench.gpu '$(PROGRAM)' --emit build/gpu --build nvcc --as search $(ARGS)
	@echo 'build/gpu/search is for a machine with a card; --runs 3 repeats it, bench/README.md says what else it takes'

docs: $(VENV)/.dev  ## Write the present output of their examples into the documents
	@$(BIN)/python tests/cli/documents.py README.md docs/tutorial.md docs/how-it-works.md docs/forced.md docs/claim.md docs/hmm-tests.md docs/mm-tests.md docs/claims.md docs/judges.md docs/adequacy.md docs/bugs.md docs/agree.md docs/reference.md
	@$(BIN)/python site/pictures.py

docs-site: $(VENV)/.site  ## The documents as a site, in .venv/site; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file site/mkdocs.yml
	@SECONDSIGHT_SITE=1 $(BIN)/python -m pytest -n 0 tests/test_docs_site.py

operations: install  ## Write the recorder's typed methods from the operations' declarations (world/operations/)
	@$(BIN)/python -m secondsight.world.typed

package: $(VENV)/.dev  ## The wheel and the sdist: checked, installed into clean environments, typed from outside
	@$(PIP) --editable '.[package]'
	@rm -rf $(VENV)/dist && $(BIN)/python -m build --outdir $(VENV)/dist . >/dev/null
	@SECONDSIGHT_PACKAGE=1 $(BIN)/python -m pytest -n 0 tests/test_package.py

install: $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "secondsight needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`;" \
	       "name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) has no venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing secondsight into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing secondsight and its test tools into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.cluster: pyproject.toml | $(VENV)/.dev
	@echo "installing Ray into $(VENV)"
	@$(PIP) --editable '.[dev,cluster]'
	@touch $@

$(VENV)/.site: pyproject.toml | $(VENV)/.dev
	@echo "installing mkdocs into $(VENV)"
	@$(PIP) --editable '.[dev,site]'
	@touch $@

help:  ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
