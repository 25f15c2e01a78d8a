# The preset: config/digits.yaml unless `--configfile` names another.

import json
import os
from pathlib import Path

# The jobs' `paradise` is the one beside this Snakemake, also where its environment is not activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

if not workflow.configfiles:

    configfile: "config/digits.yaml"


try:
    if len(workflow.configfiles) > 1:
        raise UserError("one preset is one study: give one --configfile")
    PRESET = Path(os.path.relpath(workflow.configfiles[0]))
    if presets.load(PRESET) != config:
        raise UserError(f"--config would change the study under its name: copy {PRESET} and edit the copy")
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

RESULTS = f"results/{PRESET.stem}"
# A run is `seed<k>`, trained here, or `imported`, a checkpoint of others.
RUN = f"{RESULTS}/{{row}}/{{run}}"
DATA = config["data"]["folder"]
CHECKPOINTS = config.get("checkpoints", {})
ROWS = presets.rows(config)
IMAGENET = presets.models(config)
ABLATION = [row for pair in names.ablation_rows(presets.PAPER) for row in pair[:2] if row in ROWS]


wildcard_constraints:
    row="[a-z0-9_-]+",
    run="seed[0-9]+|imported",
    seed="[0-9]+",


def runs(rows, name):
    """The file `name` of every run of `rows`."""
    trained = expand(f"{RUN}/{name}", row=rows, run=[f"seed{seed}" for seed in config["seeds"]])
    return trained + expand(f"{RUN}/{name}", row=[row for row in rows if row in CHECKPOINTS], run="imported")


def settings(section):
    """A part of the preset as a job's parameter: the order of its keys is no change."""
    return json.dumps(section, sort_keys=True)
