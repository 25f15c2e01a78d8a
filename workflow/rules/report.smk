rule report:
    input:
        needs("report"),
    output:
        made("report"),
    log:
        log_of("report"),
    benchmark:
        cost_of("report")
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        preset=PRESET.path,
    message:
        "Writing the report"
    shell:
        "paradise report --preset {params.preset:q} > {log:q} 2>&1"


rule crate:
    input:
        needs("crate"),
    output:
        made("crate"),
    log:
        log_of("crate"),
    benchmark:
        cost_of("crate")
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        preset=PRESET.path,
    message:
        "Packing the study as a research object: {output[0]}"
    shell:
        "paradise crate --preset {params.preset:q} > {log:q} 2>&1"
