WANTED = [job.wildcards["table"] for job in STEPS["table"].of(PRESET)]
if "detection" in WANTED and find_spec("mmdet") is None:
    WANTED.remove("detection")
    print("Table 3 is left out: it needs mmdetection, which `make detection` installs", file=sys.stderr)


rule table:
    message: "Writing the table {wildcards.table}"
    input: needs("table"),
    output: made("table"),
    log: log_of("table"),
    benchmark: cost_of("table")
    threads: 1
    resources: mem_mb=500, runtime=5,
    params: preset=PRESET.path,
    shell:
        "paradise tables {wildcards.table} --preset {params.preset:q} > {log:q} 2>&1"
