rule train:
    input:
        needs("train"),
    output:
        made("train"),
    log:
        log_of("train"),
    benchmark:
        cost_of("train")
    priority: urgency_of_row
    # One thread a job, as many jobs as cores: on small images that is a fifth faster than one job on all cores.
    threads: 1
    # Two minutes before its time is over Slurm warns it, and it saves its state.
    resources:
        mem_mb=3000,
        runtime=60,
        gpu=0,
        slurm_extra="'--signal=TERM@120'",
    params:
        preset=PRESET.path,
    message:
        "Training {wildcards.row}, seed {wildcards.seed}"
    # A signal is for `paradise`, which saves its state and says so. A run that goes on from there goes on in its log.
    shell:
        "exec paradise train {wildcards.row:q} --seed {wildcards.seed:q} --preset {params.preset:q} --threads {threads:q}"
        " --gpus {resources.gpu:q} >> {log:q} 2>&1"
