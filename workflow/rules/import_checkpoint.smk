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
        " --output {RESULTS}/{wildcards.row}/imported > {log} 2>&1"
