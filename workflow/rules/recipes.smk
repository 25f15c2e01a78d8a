# What DVC compares row by row: a preset says it for many rows at once.
rule recipes:
    message: "Writing what each row is trained with"
    input: PRESET,
    output: f"{RESULTS}/recipes.json",
    log: f"{RESULTS}/logs/recipes.log",
    benchmark: f"{RESULTS}/benchmarks/recipes.tsv"
    threads: 1
    resources: mem_mb=500, runtime=5,
    shell:
        "paradise recipes --preset {PRESET} > {log} 2>&1"
