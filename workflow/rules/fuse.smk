rule fuse:
    input:
        needs("fuse"),
    output:
        made("fuse"),
    log:
        log_of("fuse"),
    benchmark:
        cost_of("fuse")
    priority: AT_ONCE
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        folder=lambda wildcards: f"{RESULTS}/{wildcards.row}/{wildcards.run}",
    message:
        "Fusing {wildcards.row}, {wildcards.run}"
    shell:
        "paradise fuse {params.folder:q} > {log:q} 2>&1"
