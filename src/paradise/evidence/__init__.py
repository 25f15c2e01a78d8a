"""Why the method may work: measurements beside the tables, made by `snakemake evidence`, shown in the report."""

NAMES = ("lottery", "perceptrons", "diversity", "pruning", "gradcam")
STARTS = {
    "random": "random weights",
    "rest": "random kernels, the rest trained",
    "maximum": "element-wise maximum of the branches",
    "magnitude": "element-wise largest magnitude",
    "fused": "the fused kernel",
}
SEEDS = [0, 1, 2]
SOURCE = "pd_a_resnet18"  # whose branches are the lottery's tickets


def seeds(preset: dict) -> list[int]:
    """The seeds of what evidence trains."""
    return preset.get("evidence", {}).get("seeds", SEEDS)
