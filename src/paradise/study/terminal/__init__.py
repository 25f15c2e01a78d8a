"""What is said on the terminal: the command line, progress, and what Snakemake shows."""
