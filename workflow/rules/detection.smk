# The third table, in mmdetection. A detector starts from the weights of its backbone's classification row.
DETECTION = config.get("detection", {})
DETECTION_DATA = DETECTION.get("folder", "none")
DETECTORS = presets.detectors(config)
DETECTOR = f"{RESULTS}/detection/{{detector}}/seed{{seed}}"
LATENCY = {"image_size": 0, "rounds": 0, "threads": 1} | DETECTION.get("latency", {})


wildcard_constraints:
    detector="[a-z0-9_-]+",


def detectors(name):
    """The file `name` of every run of a detector."""
    return expand(f"{DETECTOR}/{name}", detector=DETECTORS, seed=config["seeds"])


rule prepare_detection:
    message: "Preparing the detection images in {DETECTION_DATA}"
    output: f"{DETECTION_DATA}/detection.json",
    log: f"{RESULTS}/logs/prepare_detection.log",
    benchmark: f"{RESULTS}/benchmarks/prepare_detection.tsv"
    threads: 1
    resources: mem_mb=4000, runtime=30,
    params:
        dataset=DETECTION.get("dataset"),
        source=DETECTION.get("source"),
        images=settings(DETECTION.get("images")),
    shell:
        "paradise detection prepare --preset {PRESET} > {log} 2>&1"


rule train_detector:
    message: "Training {wildcards.detector}, seed {wildcards.seed}"
    input:
        f"{DETECTION_DATA}/detection.json",
        lambda wildcards: multiext(
            f"{RESULTS}/{names.backbone_of(wildcards.detector)}/seed{wildcards.seed}/", "weights.safetensors", "run.json"
        ),
    output:
        f"{DETECTOR}/weights.safetensors",
        f"{DETECTOR}/log.csv",
        f"{DETECTOR}/run.json",
    log: f"{RESULTS}/logs/train_detector/{{detector}}-seed{{seed}}.log",
    benchmark: f"{RESULTS}/benchmarks/train_detector/{{detector}}-seed{{seed}}.tsv"
    threads: 1
    # The longest first, so that none is left to run alone at the end.
    priority: lambda wildcards: wildcards.detector.count("pd_") + 2 * wildcards.detector.endswith("inside")
    resources: mem_mb=6000, runtime=60, gpu=0, slurm_extra="'--signal=TERM@120'",
    params: detection=lambda wildcards: settings(presets.detection(config, wildcards.detector)),
    shell:
        "exec paradise detection train {wildcards.detector} --seed {wildcards.seed} --preset {PRESET} --threads {threads}"
        " --gpus {resources.gpu} >> {log} 2>&1"


rule evaluate_detector:
    message: "Evaluating {wildcards.detector}, seed {wildcards.seed}, trained and fused"
    input:
        f"{DETECTION_DATA}/detection.json",
        f"{DETECTOR}/weights.safetensors",
        f"{DETECTOR}/run.json",
    output:
        f"{DETECTOR}/evaluation.json",
        f"{DETECTOR}/metrics.json",
    log: f"{RESULTS}/logs/evaluate_detector/{{detector}}-seed{{seed}}.log",
    benchmark: f"{RESULTS}/benchmarks/evaluate_detector/{{detector}}-seed{{seed}}.tsv"
    threads: 1
    resources: mem_mb=4000, runtime=60, gpu=0,
    shell:
        "paradise detection evaluate {RESULTS}/detection/{wildcards.detector}/seed{wildcards.seed} --threads {threads}"
        " --gpus {resources.gpu} > {log} 2>&1"


rule profile_detectors:
    message: "Counting and timing the detectors"
    input: f"{DETECTION_DATA}/detection.json",
    output: f"{RESULTS}/profile/detection.json",
    log: f"{RESULTS}/logs/profile_detectors.log",
    benchmark: f"{RESULTS}/benchmarks/profile_detectors.tsv"
    # All cores of this machine, so that nothing runs beside it.
    threads: workflow.cores
    resources: mem_mb=8000, runtime=60,
    params: rows=DETECTORS, **LATENCY,
    shell:
        "paradise detection profile --preset {PRESET} --output {output} > {log} 2>&1"
