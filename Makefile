# Sets up and calls Snakemake; `snakemake` alone, in the environment, is the whole pipeline.

TABLES = results/digits/tables/
# `make reproduce DETECTION=no` leaves out Table 3, and what must be compiled for it.
DETECTION = yes

# `make faults TRIES=1000 KINDS="kills ended" SEED=1`: how often, which kinds, at which moments.
TRIES = 100
KINDS =
SEED = 0

.PHONY: setup detection reproduce tables test faults lint

setup: .venv/.installed

# The stamp is newer than what it was installed from, so a changed pin installs again, from nothing.
.venv/.installed: pyproject.toml constraints.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or later is needed, found $$(python3 --version)"; exit 2; }
	@echo "Installing the packages pinned in constraints.txt into .venv: two minutes, or more where torch comes with CUDA"
	@python3 -m venv --clear .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

detection: .venv/.detection

# mmdetection and its compiled operators; pip keeps what it compiled, so the second time takes seconds.
.venv/.detection: .venv/.installed
	@command -v c++ >/dev/null || { echo "error: Table 3 needs a C++ compiler for mmdetection's operators, and there is none; install g++ and run make again"; exit 2; }
	@echo "Installing mmdetection into .venv: its operators are compiled, which takes 10 to 15 minutes on two cores the first time"
	@.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,detection]'
	@PATH="$$PWD/.venv/bin:$$PATH" MMCV_WITH_OPS=1 MAX_JOBS=$$(nproc) .venv/bin/pip install --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps -c constraints.txt onedl-mmengine onedl-mmcv onedl-mmdetection imaug
	@touch $@

# Tables 1 and 2 first, as soon as they exist.
reproduce: setup
	@.venv/bin/snakemake table_imagenet table_ablation && cat $(TABLES)imagenet.md $(TABLES)ablation.md
ifeq ($(DETECTION),yes)
	@$(MAKE) --no-print-directory detection && .venv/bin/snakemake && cat $(TABLES)detection.md
else
	@.venv/bin/paradise tables && .venv/bin/paradise report
endif
	@echo "All of it as one page: results/digits/report.html"

# From what was published: nothing is trained.
tables: setup
	@.venv/bin/paradise pull && .venv/bin/paradise tables && cat $(TABLES)imagenet.md $(TABLES)ablation.md $(TABLES)detection.md
	@echo "All of it as one page: results/digits/report.html"

# The report is tested in a browser.
test: detection
	@command -v chromium chromedriver >/dev/null || { echo "error: the tests need Debian's packages chromium and chromium-driver; apt-get install them and run make again"; exit 2; }
	@.venv/bin/pytest

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
	@.venv/bin/paradise dvc-yaml --check
