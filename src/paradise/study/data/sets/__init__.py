"""The data sets that a preset can name: one module each, which exports its `DATASET`."""
