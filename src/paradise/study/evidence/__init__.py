"""Why the method may work: measurements beside the tables, made by `snakemake evidence`, shown in the report.

Each piece of evidence is one module of `pieces`, found by its name.
"""
