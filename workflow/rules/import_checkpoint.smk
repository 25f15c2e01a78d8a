rule import_checkpoint:
    input:
        needs("import_checkpoint"),
    output:
        made("import_checkpoint"),
    log:
        log_of("import_checkpoint"),
    benchmark:
        cost_of("import_checkpoint")
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        preset=PRESET.path,
        file=lambda wildcards: PRESET.checkpoints[wildcards.row],
    message:
        "Importing the checkpoint of {wildcards.row}"
    shell:
        "paradise import-checkpoint --model {wildcards.row:q} --preset {params.preset:q} -- {params.file:q} > {log:q} 2>&1"
