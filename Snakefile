# From one preset to the paper's tables. Everything that is measured lies under results/<preset>/:
#   <row>/seed<k>/   weights.safetensors, log.csv, run.json → fused.safetensors → evaluation.json, metrics.json,
#                    predictions.csv
#   recipes.json     what each row is trained with
#   detection/<row>/seed<k>/   weights.safetensors, log.csv, run.json → evaluation.json, metrics.json
#   profile/         complexity.json, latency.json, detection.json
#   tables/          imagenet.{md,csv}, ablation.{md,csv}, detection.{md,csv}, claims.{md,csv}
#   evidence/        why the method may work: NAME.json; lottery/<start>/seed<k>/ as a row's folder
#   report.html      all of it in one file; figures/ has its figures
#   logs/, benchmarks/   what each job printed, and what it cost

import sys
from importlib.util import find_spec

from snakemake.utils import min_version

from paradise import evidence, names
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
include: "workflow/rules/evidence.smk"
include: "workflow/rules/report.smk"


# Targets name what is measured as well: a table that was written without a failed row does not count as done.
rule all:
    default_target: True
    message: "The tables are in {RESULTS}/tables, the report is {RESULTS}/report.html"
    input: [MEASURED[table] + TABLES[table] for table in WANTED], rules.report.output,


rule tables:
    input: [MEASURED[table] + TABLES[table] for table in WANTED],


rule evidence:
    message: "The evidence is in {RESULTS}/evidence; `snakemake report` shows it"
    input: MADE,


rule table_imagenet:
    input: MEASURED["imagenet"], TABLES["imagenet"],


rule table_ablation:
    input: MEASURED["ablation"], TABLES["ablation"],


if DETECTORS:

    rule table_detection:
        input: MEASURED["detection"], TABLES["detection"],


# What was measured is worth tables and a report, also after a row failed; they say which rows are missing.
onerror:
    shell(
        f"paradise tables --preset {PRESET} && cat {' '.join(TABLES[table][0] for table in presets.tables(config))}"
        f" && paradise report --preset {PRESET}"
    )
