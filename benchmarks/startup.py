"""Start-up of a two-rank run, by part, over programs under torchrun that do less and less.

python -m benchmarks.startup

empty: nothing; imports: torch; ddp: torch, a gloo group and DistributedDataParallel around one layer, its first
step. ours: ddp_train.py on MNIST from the start of torchrun to its first step, as its record says. The others are
timed from start to end by this program, torchrun included.
"""

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.rounds import Report, interleaved, ratios
from ddpbench.record import Record, read_record

ROUNDS = 7
PROGRAMS = {
    "empty": "",
    "imports": "import torch\n",
    "ddp": (
        "import os, torch\n"
        "torch.distributed.init_process_group('gloo')\n"
        "net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))\n"
        "optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n"
        "net(torch.ones(1, 1)).sum().backward()\n"
        "optimizer.step()\n"
        "os._exit(0)\n"
    ),
}
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2")


def main() -> None:
    """Run every program once a round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for program, text in PROGRAMS.items():
            (folder / f"{program}.py").write_text(text)
        alternatives = {program: partial(program_s, folder / f"{program}.py") for program in PROGRAMS}
        figures = interleaved({**alternatives, "ours": partial(ours_s, folder)}, ROUNDS)
        records = [read_record(path) for path in sorted(folder.glob("*.json"))][1:]  # the first round is nobody's
    report = Report("startup")
    report.section("from the start of torchrun, two ranks")
    for name, values in figures.items():
        report.figure(name, values, "s")
    for name in PROGRAMS:
        report.figure(f"ours over {name}", ratios(figures["ours"], figures[name]), "times")
    report.section("ours by part, of the slowest rank")
    for part in records[0].startup.__struct_fields__:
        report.figure(part.removesuffix("_s").replace("_", " "), [of(record, part) for record in records], "s")
    report.write()


def program_s(path: Path) -> float:
    """Run a program under torchrun. Returns its seconds."""
    begin = time.perf_counter()
    subprocess.run([*TORCHRUN, str(path)], check=True, capture_output=True)
    return time.perf_counter() - begin


def ours_s(folder: Path) -> float:
    """Train an epoch. Returns the seconds until its first step was done, as the record has them."""
    before = set(folder.glob("*.json"))
    command = [*TORCHRUN, "ddp_train.py", "--device", "cpu", "--epochs", "1", "--results", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = set(folder.glob("*.json")) - before
    record = read_record(path)
    return record.startup_s + of(record, "first_step_s")


def of(record: Record, part: str) -> float:
    """Return the seconds of a part of start-up."""
    return float(getattr(record.startup, part))


if __name__ == "__main__":
    main()
