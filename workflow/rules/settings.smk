# What DVC compares: the settings and the code of each result. `dvc repro` begins with it.
rule settings:
    output:
        f"{RESULTS}/settings.json",
    log:
        f"{RESULTS}/logs/settings.log",
    benchmark:
        f"{RESULTS}/benchmarks/settings.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        preset=PRESET.path,
    message:
        "Writing what each result depends on"
    shell:
        "paradise settings --preset {params.preset:q} > {log:q} 2>&1"
