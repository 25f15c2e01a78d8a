rule evaluate:
    input:
        needs("evaluate"),
    output:
        made("evaluate"),
    log:
        log_of("evaluate"),
    benchmark:
        cost_of("evaluate")
    priority: AT_ONCE
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
        gpu=0,
    params:
        folder=lambda wildcards: f"{RESULTS}/{wildcards.row}/{wildcards.run}",
    message:
        "Evaluating {wildcards.row}, {wildcards.run}, trained and fused"
    shell:
        "paradise evaluate {params.folder:q} --threads {threads:q} --gpus {resources.gpu:q} > {log:q} 2>&1"
