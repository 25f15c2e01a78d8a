# Why the method may work; not part of the default run. It looks at the first seed's networks.
EVIDENCE = f"{RESULTS}/evidence"
FIRST = f"seed{config['seeds'][0]}"
FOUR_BRANCHES = [row for row in ROWS if row.startswith("pd_") and "-" not in row]
MADE = expand(f"{EVIDENCE}/{{name}}.json", name=evidence.NAMES)


def looked_at(wildcards):
    """What a piece of evidence is measured on."""
    if wildcards.name == "lottery":
        starts, seeds = evidence.STARTS, evidence.seeds(config)
        return expand(
            f"{EVIDENCE}/lottery/{{start}}/seed{{seed}}/{{file}}", start=starts, seed=seeds, file=["log.csv", "run.json"]
        )
    rows = {
        "perceptrons": [],
        "diversity": FOUR_BRANCHES,
        "pruning": FOUR_BRANCHES,
        "gradcam": [row for row in IMAGENET if row.endswith("18")],
    }[wildcards.name]
    return expand(f"{RESULTS}/{{row}}/{FIRST}/{{file}}", row=rows, file=["weights.safetensors", "run.json"])


wildcard_constraints:
    start="|".join(evidence.STARTS),
    name="|".join(evidence.NAMES),


rule train_start:
    message: "Training a plain ResNet18 from {wildcards.start}, seed {wildcards.seed}"
    input:
        f"{DATA}/manifest.csv",
        multiext(f"{RESULTS}/{evidence.SOURCE}/{FIRST}/", "weights.safetensors", "run.json"),
    output:
        multiext(f"{EVIDENCE}/lottery/{{start}}/seed{{seed}}/", "weights.safetensors", "log.csv", "run.json"),
    log: f"{RESULTS}/logs/train_start/{{start}}-seed{{seed}}.log",
    benchmark: f"{RESULTS}/benchmarks/train_start/{{start}}-seed{{seed}}.tsv"
    threads: 1
    resources: mem_mb=3000, runtime=60, gpu=0, slurm_extra="'--signal=TERM@120'",
    params:
        recipe=settings(presets.recipe(config, names.plain_of(evidence.SOURCE))),
        data=settings(config["data"]),
    shell:
        "exec paradise evidence train {wildcards.start} --seed {wildcards.seed} --preset {PRESET} --threads {threads}"
        " --gpus {resources.gpu} >> {log} 2>&1"


rule make_evidence:
    message: "Making the evidence: {wildcards.name}"
    input:
        f"{DATA}/manifest.csv",
        looked_at,
    output: f"{EVIDENCE}/{{name}}.json",
    log: f"{RESULTS}/logs/evidence/{{name}}.log",
    benchmark: f"{RESULTS}/benchmarks/evidence/{{name}}.tsv"
    threads: 1
    resources: mem_mb=4000, runtime=60, gpu=0,
    params: seeds=evidence.seeds(config),
    shell:
        "paradise evidence make {wildcards.name} --preset {PRESET} --threads {threads} --gpus {resources.gpu}"
        " > {log} 2>&1"
