"""Test accuracy of the default recipe over seeds, by the installed script.

python -m benchmarks.accuracy              five seeds
python -m benchmarks.accuracy 20 --model mlp --global-batch 16 --epochs 10
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rounds import Report
from ddpbench.record import read_record


def main() -> None:
    """Train once per seed."""
    count, flags = int((sys.argv[1:] or ["5"])[0]), sys.argv[2:]
    accuracies = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            results = Path(folder) / str(seed)
            command = [sys.executable, "baseline_train.py", "--seed", str(seed), "--results", str(results), *flags]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            accuracies.append(100 * read_record(next(results.glob("*.json"))).epochs[-1].test_accuracy)
    report = Report("accuracy")
    report.section(" ".join(flags) or "default recipe, one process")
    report.figure("test accuracy", accuracies, "%")
    if not flags:
        report.write()


if __name__ == "__main__":
    main()
