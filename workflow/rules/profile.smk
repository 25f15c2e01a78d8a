rule complexity:
    input:
        needs("complexity"),
    output:
        made("complexity"),
    log:
        log_of("complexity"),
    benchmark:
        cost_of("complexity")
    threads: 1
    resources:
        mem_mb=3000,
        runtime=10,
    params:
        preset=PRESET.path,
    message:
        "Counting parameters and operations"
    shell:
        "paradise complexity --preset {params.preset:q} > {log:q} 2>&1"


rule latency:
    input:
        needs("latency"),
    output:
        made("latency"),
    log:
        log_of("latency"),
    benchmark:
        cost_of("latency")
    # All cores of this machine, so that nothing runs beside it, whatever number the models may use.
    threads: workflow.cores
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        preset=PRESET.path,
    message:
        "Timing the fused models"
    shell:
        "paradise latency --preset {params.preset:q} > {log:q} 2>&1"
