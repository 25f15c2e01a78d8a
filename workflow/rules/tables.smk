WANTED = presets.tables(config)
if "detection" in WANTED and find_spec("mmdet") is None:
    WANTED.remove("detection")
    print("Table 3 is left out: it needs mmdetection, which `make detection` installs", file=sys.stderr)

MEASURED = {
    "imagenet": runs(IMAGENET, "evaluation.json") + [f"{RESULTS}/profile/complexity.json", f"{RESULTS}/profile/latency.json"],
    "ablation": runs(ABLATION, "evaluation.json"),
    "detection": detectors("evaluation.json") + [f"{RESULTS}/profile/detection.json"],
}
MEASURED["claims"] = sorted({file for table in WANTED if table != "claims" for file in MEASURED[table]})
PUBLISHED = {"imagenet": ["imagenet"], "ablation": ["ablation"], "detection": ["coco"]}
PUBLISHED["claims"] = [name for names in PUBLISHED.values() for name in names]
TABLES = {table: multiext(f"{RESULTS}/tables/{table}", ".md", ".csv") for table in MEASURED}


rule write_table:
    message: "Writing the table {wildcards.table}"
    input:
        lambda wildcards: MEASURED[wildcards.table],
        lambda wildcards: expand("{paper}/{name}.csv", paper=presets.PAPER, name=PUBLISHED[wildcards.table]),
    output: multiext(f"{RESULTS}/tables/{{table}}", ".md", ".csv"),
    log: f"{RESULTS}/logs/table_{{table}}.log",
    benchmark: f"{RESULTS}/benchmarks/table_{{table}}.tsv"
    wildcard_constraints: table="imagenet|ablation|detection|claims",
    threads: 1
    resources: mem_mb=500, runtime=5,
    shell:
        "paradise tables {wildcards.table} --preset {PRESET} > {log} 2>&1"
