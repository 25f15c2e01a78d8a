# Sets up and calls Snakemake; `snakemake` alone, in the environment, is the whole pipeline.

TABLES = results/digits/tables/imagenet.md results/digits/tables/ablation.md

.PHONY: setup reproduce tables test lint

setup: .venv/.installed

# The stamp is newer than what it was installed from, so a changed pin installs again, from nothing.
.venv/.installed: pyproject.toml constraints.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed, found $$(python3 --version)"; exit 2; }
	@echo "Installing the packages pinned in constraints.txt into .venv: two minutes, or more where torch comes with CUDA"
	@python3 -m venv --clear .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

reproduce: setup
	@.venv/bin/snakemake && cat $(TABLES)

# From what was published: nothing is trained.
tables: setup
	@.venv/bin/paradise pull && .venv/bin/paradise tables && cat $(TABLES)

test: setup
	@.venv/bin/pytest

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
