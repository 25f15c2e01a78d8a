# From one preset to the paper's tables. Everything that is measured lies under results/<preset>/:
#   <row>/seed<k>/   weights.safetensors, log.csv, run.json → fused.safetensors → evaluation.json, metrics.json,
#                    predictions.csv
#   recipes.json     what each row is trained with
#   detection/<row>/seed<k>/   weights.safetensors, log.csv, run.json → evaluation.json, metrics.json
#   profile/         complexity.json, latency.json, detection.json
#   tables/          imagenet.{md,csv}, ablation.{md,csv}, detection.{md,csv}
#   logs/, benchmarks/   what each job printed, and what it cost

import sys
from importlib.util import find_spec

from snakemake.utils import min_version

from paradise import names
from paradise import preset as presets
from paradise.errors import UserError

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/import_checkpoint.smk"
include: "workflow/rules/recipes.smk"
include: "workflow/rules/fuse.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/profile.smk"
include: "workflow/rules/detection.smk"
include: "workflow/rules/tables.smk"


WANTED = presets.tables(config)
if "detection" in WANTED and find_spec("mmdet") is None:
    WANTED.remove("detection")
    print("Table 3 is left out: it needs mmdetection, which `make detection` installs", file=sys.stderr)


# Targets name what is measured as well: a table that was written without a failed row does not count as done.
rule all:
    default_target: True
    message: "The tables are in {RESULTS}/tables"
    input: [MEASURED[table] + TABLES[table] for table in WANTED],


rule tables:
    input: rules.all.input,


rule table_imagenet:
    input: MEASURED["imagenet"], TABLES["imagenet"],


rule table_ablation:
    input: MEASURED["ablation"], TABLES["ablation"],


if DETECTORS:

    rule table_detection:
        input: MEASURED["detection"], TABLES["detection"],


# What was measured is worth tables, also after a row failed; they say which rows are missing.
onerror:
    shell(f"paradise tables --preset {PRESET} && cat {' '.join(TABLES[table][0] for table in presets.tables(config))}")
