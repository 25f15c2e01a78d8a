# From one preset to the paper's tables. Everything that is measured lies under results/<preset>/:
#   <row>/seed<k>/   weights.safetensors, log.csv, run.json → fused.safetensors, fused.json → evaluation.json, metrics.json,
#                    predictions.csv
#   detection/<row>/seed<k>/   weights.safetensors, log.csv, run.json → evaluation.json, metrics.json
#   profile/         complexity.json, latency.json, detection.json
#   tables/          imagenet, ablation, detection, claims: .md, .csv, and .json, which says what they show
#   evidence/        why the method may work: NAME.json; lottery/<start>/seed<k>/ as a row's folder
#   report.html      all of it in one file; figures/ has its figures
#   settings.json    what each result depends on, as DVC compares it
#   logs/, benchmarks/   what each job printed, and what it cost
# Which files a step makes of which is declared once, in src/paradise/study/steps/; the rules say how it is run.

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/import_checkpoint.smk"
include: "workflow/rules/fuse.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/profile.smk"
include: "workflow/rules/detection.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/settings.smk"


# Targets name what is measured as well: a table that was written without a failed row does not count as done.
rule all:
    default_target: True
    message: "The tables are in {RESULTS}/tables, the report is {RESULTS}/report.html"
    input: shown(WANTED), records("report")


rule tables:
    input: shown(WANTED)


rule evidence:
    message: "The evidence is in {RESULTS}/evidence; `snakemake report` shows it"
    input: records("make_evidence")


for table in WANTED:

    rule:
        name: f"table_{table}"
        input: shown([table])


# What was measured is worth tables and a report, also after a row failed; they say which rows are missing.
onerror:
    shell(
        "paradise tables --preset {PRESET.path:q} && cat {TABLES:q} && paradise report --preset {PRESET.path:q}",
        TABLES=[f"{RESULTS}/tables/{table}.md" for table in WANTED],
    )
