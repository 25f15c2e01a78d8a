# Why the method may work; not part of the default run. It looks at the first seed's networks.


rule train_start:
    input:
        needs("train_start"),
    output:
        made("train_start"),
    log:
        log_of("train_start"),
    benchmark:
        cost_of("train_start")
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
        gpu=0,
        slurm_extra="'--signal=TERM@120'",
    params:
        preset=PRESET.path,
    message:
        "Training a plain ResNet18 from {wildcards.start}, seed {wildcards.seed}"
    shell:
        "exec paradise evidence train {wildcards.start:q} --seed {wildcards.seed:q} --preset {params.preset:q}"
        " --threads {threads:q} --gpus {resources.gpu:q} >> {log:q} 2>&1"


rule make_evidence:
    input:
        needs("make_evidence"),
    output:
        made("make_evidence"),
    log:
        log_of("make_evidence"),
    benchmark:
        cost_of("make_evidence")
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        preset=PRESET.path,
    message:
        "Making the evidence: {wildcards.piece}"
    shell:
        "paradise evidence make {wildcards.piece:q} --preset {params.preset:q} --threads {threads:q}"
        " --gpus {resources.gpu:q} > {log:q} 2>&1"
