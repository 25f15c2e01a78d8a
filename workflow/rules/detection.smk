# The third table, in mmdetection. A detector starts from the weights of its backbone's classification row.
from paradise.study.rows import DetectorRow


rule prepare_detection:
    input:
        needs("prepare_detection"),
    output:
        made("prepare_detection"),
    log:
        log_of("prepare_detection"),
    benchmark:
        cost_of("prepare_detection")
    priority: AT_ONCE
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        preset=PRESET.path,
    message:
        "Preparing the detection images in {PRESET.detection.folder}"
    shell:
        "paradise detection prepare --preset {params.preset:q} > {log:q} 2>&1"


rule train_detector:
    input:
        needs("train_detector"),
    output:
        made("train_detector"),
    log:
        log_of("train_detector"),
    benchmark:
        cost_of("train_detector")
    priority: lambda wildcards: urgency(wildcards, DetectorRow.parse(wildcards.detector).cost)
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=0,
        slurm_extra="'--signal=TERM@120'",
    params:
        preset=PRESET.path,
    message:
        "Training {wildcards.detector}, seed {wildcards.seed}"
    shell:
        "exec paradise detection train {wildcards.detector:q} --seed {wildcards.seed:q} --preset {params.preset:q}"
        " --threads {threads:q} --gpus {resources.gpu:q} >> {log:q} 2>&1"


rule evaluate_detector:
    input:
        needs("evaluate_detector"),
    output:
        made("evaluate_detector"),
    log:
        log_of("evaluate_detector"),
    benchmark:
        cost_of("evaluate_detector")
    priority: AT_ONCE
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        folder=lambda wildcards: f"{RESULTS}/detection/{wildcards.detector}/seed{wildcards.seed}",
    message:
        "Evaluating {wildcards.detector}, seed {wildcards.seed}, trained and fused"
    shell:
        "paradise detection evaluate {params.folder:q} --threads {threads:q} --gpus {resources.gpu:q} > {log:q} 2>&1"


rule profile_detectors:
    input:
        needs("profile_detectors"),
    output:
        made("profile_detectors"),
    log:
        log_of("profile_detectors"),
    benchmark:
        cost_of("profile_detectors")
    # All cores of this machine, so that nothing runs beside it.
    threads: workflow.cores
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        preset=PRESET.path,
    message:
        "Counting and timing the detectors"
    shell:
        "paradise detection profile --preset {params.preset:q} > {log:q} 2>&1"
