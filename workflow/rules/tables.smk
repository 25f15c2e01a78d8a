rule table:
    input:
        needs("table"),
    output:
        made("table"),
    log:
        log_of("table"),
    benchmark:
        cost_of("table")
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        preset=PRESET.path,
    message:
        "Writing the table {wildcards.table}"
    shell:
        "paradise tables {wildcards.table:q} --preset {params.preset:q} > {log:q} 2>&1"
