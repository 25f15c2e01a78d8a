rule prepare:
    message: "Preparing the images in {DATA}"
    output:
        f"{DATA}/manifest.csv",
        f"{DATA}/prepared.json",
    log: f"{RESULTS}/logs/prepare.log",
    benchmark: f"{RESULTS}/benchmarks/prepare.tsv"
    threads: 1
    resources: mem_mb=1000, runtime=10,
    params:
        dataset=config["data"]["dataset"],
        per_class=config["data"].get("per_class"),
        hold_out=config["data"].get("hold_out"),
        source=config["data"].get("source"),
        expect=config["data"].get("expect"),
    shell:
        "paradise prepare --preset {PRESET} --threads {threads} > {log} 2>&1"
