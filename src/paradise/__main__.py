"""The command line: `paradise`, or `python -m paradise`."""

import sys


def main() -> None:
    """Runs the study's command line, or says in one line which package it lacks."""
    try:
        from paradise.study.terminal.cli import main as run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "paradise":
            raise
        lacks = f"the study's command line needs more packages (no {package})"
        print(f"error: {lacks}: pip install 'paradise-nn[study]'", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
