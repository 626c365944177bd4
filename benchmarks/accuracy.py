"""Test accuracy of the default recipe over seeds, by the installed script.

python -m benchmarks.accuracy              five seeds
python -m benchmarks.accuracy 20 --model mlp --global-batch 16 --epochs 10
"""

import sys

from benchmarks.rounds import Report, train


def main() -> None:
    """Train once per seed."""
    count, flags = int((sys.argv[1:] or ["5"])[0]), sys.argv[2:]
    records = [train("baseline_train.py", "--seed", str(seed), *flags)[0] for seed in range(count)]
    report = Report("accuracy")
    report.section(" ".join(flags) or "default recipe, one process")
    report.figure("test accuracy", [100 * record.epochs[-1].metric for record in records], "%")
    if not flags:
        report.write()


if __name__ == "__main__":
    main()
