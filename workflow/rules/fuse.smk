rule fuse:
    message: "Fusing {wildcards.row}, {wildcards.run}"
    input:
        f"{RUN}/weights.safetensors",
        f"{RUN}/run.json",
    output: f"{RUN}/fused.safetensors",
    log: f"{RESULTS}/logs/fuse/{{row}}-{{run}}.log",
    benchmark: f"{RESULTS}/benchmarks/fuse/{{row}}-{{run}}.tsv"
    threads: 1
    resources: mem_mb=2000, runtime=10,
    shell:
        "paradise fuse {RESULTS}/{wildcards.row}/{wildcards.run} > {log} 2>&1"
