rule prepare:
    input:
        needs("prepare"),
    output:
        made("prepare"),
    log:
        log_of("prepare"),
    benchmark:
        cost_of("prepare")
    priority: AT_ONCE
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        preset=PRESET.path,
    message:
        "Preparing the images in {PRESET.data.folder}"
    shell:
        "paradise prepare --preset {params.preset:q} --threads {threads:q} > {log:q} 2>&1"
