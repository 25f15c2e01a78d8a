rule evaluate:
    message: "Evaluating {wildcards.row}, {wildcards.run}, trained and fused"
    input:
        f"{DATA}/manifest.csv",
        f"{RUN}/run.json",
        f"{RUN}/weights.safetensors",
        f"{RUN}/fused.safetensors",
    output:
        f"{RUN}/evaluation.json",
        f"{RUN}/metrics.json",
        f"{RUN}/predictions.csv",
    log: f"{RESULTS}/logs/evaluate/{{row}}-{{run}}.log",
    benchmark: f"{RESULTS}/benchmarks/evaluate/{{row}}-{{run}}.tsv"
    threads: 1
    resources: mem_mb=3000, runtime=60, gpu=0,
    shell:
        "paradise evaluate {RESULTS}/{wildcards.row}/{wildcards.run} --threads {threads} --gpus {resources.gpu}"
        " > {log} 2>&1"
