"""`snakemake --lint` without the remarks that this workflow does not follow; exit code 1 if another is left."""

import subprocess
import sys

# By its beginning, and why not.
NOT_FOLLOWED = {
    "Specify a conda environment or container for each rule": "all jobs run in the one environment of `make setup`",
    "Environment variable PATH used but not asserted": "every process has one; common.smk puts this environment first",
}
REMARK, OF = "    * ", "Lints for "  # how its lines begin


def main() -> int:
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    remarks = [line for line in done.stdout.splitlines() if line.startswith((REMARK, OF))]
    if done.returncode and not remarks:
        print(done.stdout)  # it did not come to linting
        return 1
    place, followed = "", []
    for line in remarks:
        if line.startswith(OF):
            place = line.removeprefix(OF)
        elif not line.startswith(tuple(REMARK + title for title in NOT_FOLLOWED)):
            followed.append(f"{place} {line.removeprefix(REMARK)}")
    print("\n".join(followed) or "snakemake --lint: nothing to remark")
    return bool(followed)


if __name__ == "__main__":
    sys.exit(main())
