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

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"


for rules in sorted(Path(workflow.basedir, "workflow", "rules").glob("*.smk")):
    if rules.name != "common.smk":

        include: rules


# Targets name what is measured as well: a table that was written without a failed row does not count as done.
rule all:
    default_target: True
    input:
        shown(WANTED),
        records("report"),
    message:
        "The tables are in {RESULTS}/tables, the report is {RESULTS}/report.html"


rule tables:
    input:
        shown(WANTED),
    message:
        "The tables are in {RESULTS}/tables"


rule evidence:
    input:
        records("make_evidence"),
    message:
        "The evidence is in {RESULTS}/evidence; `snakemake report` shows it"


for table in WANTED:

    rule:
        name:
            f"table_{table}"
        input:
            shown([table]),
        message:
            f"Table `{table}` is in {RESULTS}/tables"


# What was measured is worth tables and a report, also after a row failed; they say which rows are missing. Where the
# user ended the run, its next call makes them.
onerror:
    if workflow.scheduler.failed and not workflow.scheduler._user_kill:
        if have_new_numbers(WANTED):
            shell(
                "paradise tables --preset {PRESET.path:q} && paradise report --preset {PRESET.path:q}"
                " && paradise show --preset {PRESET.path:q}"
            )
    else:
        print("ended; the same command goes on from here", file=sys.stderr)
