# Evidence is shown where it has been made.
rule report:
    message: "Writing the report"
    input:
        [MEASURED[table] + TABLES[table] for table in WANTED],
        [file for file in MADE if Path(file).exists()],
    output: f"{RESULTS}/report.html",
    log: f"{RESULTS}/logs/report.log",
    benchmark: f"{RESULTS}/benchmarks/report.tsv"
    threads: 1
    resources: mem_mb=2000, runtime=10,
    shell:
        "paradise report --preset {PRESET} > {log} 2>&1"


rule crate:
    message: "Packing the study as a research object: {output}"
    input: f"{RESULTS}/report.html",
    output: f"{RESULTS}/study.crate.zip",
    log: f"{RESULTS}/logs/crate.log",
    benchmark: f"{RESULTS}/benchmarks/crate.tsv"
    threads: 1
    resources: mem_mb=1000, runtime=10,
    shell:
        "paradise crate --preset {PRESET} > {log} 2>&1"
