"""Snakemake finds plugins by this package's name; `workflow/profiles/default` asks for this one."""

from paradise.display import LogHandler

__all__ = ["LogHandler"]
