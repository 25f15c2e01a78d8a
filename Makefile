# Sets up and calls Snakemake; `snakemake` alone, in the environment, is the whole pipeline.

# `make reproduce DETECTION=no` leaves out Table 3, more than half of the time.
DETECTION = yes

# `make faults TRIES=1000 KINDS="kills ended" SEED=1`: how often, which kinds, at which moments.
TRIES = 100
KINDS =
SEED = 0

BEGAN := $(shell date +%s)

.PHONY: setup reproduce tables test check browser faults lint

PIP = .venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt

setup: .venv/.installed

# The stamp is newer than what it was installed from, so a changed pin installs again, from nothing. mmdetection's packages
# declare an OpenCV that needs a display, so theirs are not asked for. mmcv comes without its operators where pip builds it
# by itself, which takes no compiler; what pip kept of another build is not taken.
.venv/.installed: pyproject.toml constraints.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed, found $$(python3 --version)"; exit 2; }
	@echo "Installing the packages pinned in constraints.txt into .venv: two to three minutes, or more where torch comes with CUDA"
	@python3 -m venv --clear .venv
	@$(PIP) -e '.[test,detection]'
	@$(PIP) --no-deps --no-cache-dir onedl-mmengine onedl-mmcv onedl-mmdetection imaug
	@.venv/bin/python -m paradise.mmcv_operators
	@touch $@

# Tables 1 and 2 first, as soon as they exist.
reproduce: setup
	@.venv/bin/snakemake table_imagenet table_ablation && .venv/bin/paradise show imagenet ablation
ifeq ($(DETECTION),yes)
	@.venv/bin/snakemake && .venv/bin/paradise show detection
else
	@.venv/bin/paradise tables && .venv/bin/paradise report
endif
	@echo "Done in $$(( ($$(date +%s) - $(BEGAN)) / 60 )) min. Look first at results/digits/report.html, in a browser."

# From what was published: nothing is trained.
tables: setup
	@.venv/bin/paradise pull && .venv/bin/paradise tables && .venv/bin/paradise show

test: setup browser
	@.venv/bin/pytest

# The quick tests alone, for who develops.
check: setup
	@.venv/bin/pytest -m "not slow"

# The report is tested in a browser. Where nobody may install one its tests are skipped, and say so.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || workflow/install-browser

# What can go wrong, at random moments, into docs/reliability.md: hours.
faults: setup
	@.venv/bin/python tests/faults/try_faults.py $(KINDS) --tries $(TRIES) --seed $(SEED)

# The same as .pre-commit-config.yaml runs.
lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/snakefmt --check Snakefile workflow
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@.venv/bin/deptry src
	@.venv/bin/python workflow/lint.py
	@.venv/bin/paradise schema --check
	@.venv/bin/python workflow/readme.py --check
	@.venv/bin/paradise dvc-yaml --check
