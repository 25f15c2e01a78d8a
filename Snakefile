# From one preset to the paper's tables. Everything that is measured lies under results/<preset>/:
#   <row>/seed<k>/   weights.safetensors, log.csv, run.json → fused.safetensors → evaluation.json, metrics.json,
#                    predictions.csv
#   recipes.json     what each row is trained with
#   profile/         complexity.json, latency.json
#   tables/          imagenet.{md,csv}, ablation.{md,csv}
#   logs/, benchmarks/   what each job printed, and what it cost

import sys

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
include: "workflow/rules/tables.smk"


# Targets name what is measured as well: a table that was written without a failed row does not count as done.
rule all:
    default_target: True
    message: "The tables are in {RESULTS}/tables"
    input: MEASURED["imagenet"], MEASURED["ablation"], TABLES["imagenet"], TABLES["ablation"],


rule tables:
    input: rules.all.input,


rule table_imagenet:
    input: MEASURED["imagenet"], TABLES["imagenet"],


rule table_ablation:
    input: MEASURED["ablation"], TABLES["ablation"],


# What was measured is worth tables, also after a row failed; they say which rows are missing.
onerror:
    shell("paradise tables --preset {PRESET} && cat {TABLES[imagenet][0]} {TABLES[ablation][0]}")
