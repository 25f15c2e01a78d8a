rule complexity:
    message: "Counting parameters and operations"
    output: f"{RESULTS}/profile/complexity.json",
    log: f"{RESULTS}/logs/complexity.log",
    benchmark: f"{RESULTS}/benchmarks/complexity.tsv"
    threads: 1
    resources: mem_mb=3000, runtime=10,
    params: models=IMAGENET,
    shell:
        "paradise complexity {params.models} --output {output} > {log} 2>&1"


rule latency:
    message: "Timing the fused models"
    output: f"{RESULTS}/profile/latency.json",
    log: f"{RESULTS}/logs/latency.log",
    benchmark: f"{RESULTS}/benchmarks/latency.tsv"
    # All cores of this machine, so that nothing runs beside it, whatever number the models may use.
    threads: workflow.cores
    resources: mem_mb=8000, runtime=60,
    params: models=IMAGENET, **config["latency"],
    shell:
        "paradise latency {params.models} --rounds {params.rounds} --threads {params.threads} --output {output}"
        " > {log} 2>&1"
