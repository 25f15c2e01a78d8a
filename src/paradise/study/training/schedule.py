"""Learning rate over the steps of a run."""

import math

from paradise.study.preset import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of `step` (from 0): a linear warm-up, then a cosine to 0 or division by 10 at given epochs."""
    epoch = (step + 1) / steps_per_epoch
    warmup, peak = recipe.warmup_epochs, recipe.learning_rate
    if epoch < warmup:
        return peak * epoch / warmup
    if isinstance(recipe.schedule, str):
        share = (epoch - warmup) / max(recipe.epochs - warmup, 1 / steps_per_epoch)
        return peak * (1 + math.cos(math.pi * share)) / 2
    return peak * 0.1 ** sum(step // steps_per_epoch >= milestone for milestone in recipe.schedule)
