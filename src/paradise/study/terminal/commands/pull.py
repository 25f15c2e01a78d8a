"""pull: what was published of the studies here."""


def command() -> None:
    """Fetch what dvc.lock records, and say what of it Snakemake will compute again."""
    from paradise.study.sharing.pull import pull

    pull()
