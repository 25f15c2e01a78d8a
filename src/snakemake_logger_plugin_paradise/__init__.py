"""Snakemake finds plugins by this package's name; `workflow/profiles/default` asks for this one."""

from paradise.study.terminal.display import LogHandler

__all__ = ["LogHandler"]
