MEASURED = {
    "imagenet": runs(IMAGENET, "evaluation.json") + [f"{RESULTS}/profile/complexity.json", f"{RESULTS}/profile/latency.json"],
    "ablation": runs(ABLATION, "evaluation.json"),
    "detection": detectors("evaluation.json") + [f"{RESULTS}/profile/detection.json"],
}
PUBLISHED = {"imagenet": "imagenet", "ablation": "ablation", "detection": "coco"}
TABLES = {table: multiext(f"{RESULTS}/tables/{table}", ".md", ".csv") for table in MEASURED}


rule write_table:
    message: "Writing the table {wildcards.table}"
    input:
        lambda wildcards: MEASURED[wildcards.table],
        lambda wildcards: f"{presets.PAPER}/{PUBLISHED[wildcards.table]}.csv",
    output: multiext(f"{RESULTS}/tables/{{table}}", ".md", ".csv"),
    log: f"{RESULTS}/logs/table_{{table}}.log",
    benchmark: f"{RESULTS}/benchmarks/table_{{table}}.tsv"
    wildcard_constraints: table="imagenet|ablation|detection",
    threads: 1
    resources: mem_mb=500, runtime=5,
    shell:
        "paradise tables {wildcards.table} --preset {PRESET} 2>&1 | tee {log}"
