rule train:
    message: "Training {wildcards.row}, seed {wildcards.seed}"
    input: f"{DATA}/manifest.csv",
    output:
        f"{RESULTS}/{{row}}/seed{{seed}}/weights.safetensors",
        f"{RESULTS}/{{row}}/seed{{seed}}/log.csv",
        f"{RESULTS}/{{row}}/seed{{seed}}/run.json",
    log: f"{RESULTS}/logs/train/{{row}}-seed{{seed}}.log",
    benchmark: f"{RESULTS}/benchmarks/train/{{row}}-seed{{seed}}.tsv"
    # One thread a job, as many jobs as cores: on small images that is a fifth faster than one job on all cores.
    threads: 1
    # The longest first, so that none is left to run alone at the end.
    priority: lambda wildcards: presets.recipe(config, wildcards.row)["epochs"]
    resources: mem_mb=3000, runtime=60,
    params:
        recipe=lambda wildcards: settings(presets.recipe(config, wildcards.row)),
        data=settings(config["data"]),
    shell:
        "paradise train {wildcards.row} --seed {wildcards.seed} --preset {PRESET} --threads {threads}"
        " --output {RESULTS}/{wildcards.row}/seed{wildcards.seed} 2>&1 | tee {log}"


rule import_checkpoint:
    message: "Importing the checkpoint of {wildcards.row}"
    input: lambda wildcards: CHECKPOINTS[wildcards.row],
    output:
        f"{RESULTS}/{{row}}/imported/weights.safetensors",
        f"{RESULTS}/{{row}}/imported/run.json",
    log: f"{RESULTS}/logs/import_checkpoint/{{row}}.log",
    benchmark: f"{RESULTS}/benchmarks/import_checkpoint/{{row}}.tsv"
    threads: 1
    resources: mem_mb=2000, runtime=10,
    params: data=settings(config["data"]),
    shell:
        "paradise import-checkpoint {input} --model {wildcards.row} --preset {PRESET}"
        " --output {RESULTS}/{wildcards.row}/imported 2>&1 | tee {log}"


# What DVC compares row by row: a preset says it for many rows at once.
rule recipes:
    message: "Writing what each row is trained with"
    input: PRESET,
    output: f"{RESULTS}/recipes.json",
    log: f"{RESULTS}/logs/recipes.log",
    threads: 1
    resources: mem_mb=500, runtime=5,
    shell:
        "paradise recipes --preset {PRESET} 2>&1 | tee {log}"
