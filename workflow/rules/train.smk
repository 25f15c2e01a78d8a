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
    # Two minutes before its time is over Slurm warns it, and it saves its state.
    resources: mem_mb=3000, runtime=60, gpu=0, slurm_extra="'--signal=TERM@120'",
    params:
        recipe=lambda wildcards: settings(presets.recipe(config, wildcards.row)),
        data=settings(config["data"]),
    # A signal is for `paradise`, which saves its state and says so. A run that goes on from there goes on in its log.
    shell:
        "exec paradise train {wildcards.row} --seed {wildcards.seed} --preset {PRESET} --threads {threads}"
        " --gpus {resources.gpu} --output {RESULTS}/{wildcards.row}/seed{wildcards.seed} >> {log} 2>&1"
