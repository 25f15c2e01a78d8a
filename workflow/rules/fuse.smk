rule fuse:
    message: "Fusing {wildcards.row}, seed {wildcards.seed}"
    input:
        f"{RUN}/weights.safetensors",
        f"{RUN}/run.json",
    output: f"{RUN}/fused.safetensors",
    log: f"{RESULTS}/logs/fuse/{{row}}-seed{{seed}}.log",
    benchmark: f"{RESULTS}/benchmarks/fuse/{{row}}-seed{{seed}}.tsv"
    threads: 1
    resources: mem_mb=2000, runtime=10,
    shell:
        "paradise fuse {RESULTS}/{wildcards.row}/seed{wildcards.seed} 2>&1 | tee {log}"
