"""All-reduce between the ranks of one machine by size: shm against gloo, and Open MPI as the yardstick.

python -m benchmarks.allreduce         two ranks
python -m benchmarks.allreduce 4       four

A round starts the ranks under torchrun for shm and gloo and under mpirun for Open MPI (where mpi4py is installed), in
turn. Calls follow one another on one tensor of float32; a figure is rank 0's median call of a round. Open MPI adds; shm
and gloo do what DDP asks for, the mean of a bucket in its own place.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from statistics import median

import torch
import torch.distributed as dist
from matplotlib.figure import Figure

from benchmarks.rounds import LAST, Report, in_turn, ratios
from ddpbench import environment
from ddpbench.comm import shm
from ddpbench.config import TrainConfig
from ddpbench.files import write_whole
from ddpbench.show.charts.style import BLUE, GREEN, GREY, ORANGE, Chart
from ddpbench.train import machine, world
from ddpbench.train.life import Life

ROUNDS = 7
SIZES = (4_000, 100_000, 407_080, 4_000_000, 24_000_000, 64_000_000)  # bytes; the third is the MLP's gradients
COLOURS = {"shm": GREEN, "gloo": ORANGE, "Open MPI": BLUE, "Open MPI, own buffer": GREY}
Figures = Mapping[str, Mapping[int, list[float]]]  # microseconds of each round, by name and bytes


def main() -> None:
    """Measure, print, and keep table, chart and JSON."""
    ranks = int((sys.argv[1:] or ["2"])[0])
    python = (sys.executable, "-m")
    jobs: dict[str, tuple[str, ...]] = {"torch": (*python, "torch.distributed.run", f"--nproc-per-node={ranks}", "-m")}
    if shutil.which("mpirun") and find_spec("mpi4py"):
        jobs["mpi"] = ("mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(ranks), *python)
    found: dict[str, dict[int, list[float]]] = {}
    for turn in range(ROUNDS):
        for job in in_turn([*jobs], turn):
            for name, by_size in run(*jobs[job], "benchmarks.allreduce", job).items():
                for size, figure_us in by_size.items():
                    found.setdefault(name, {}).setdefault(int(size), []).append(figure_us)
    report = Report("allreduce")
    for size_bytes in SIZES:
        of_size = {name: by_size[size_bytes] for name, by_size in found.items()}
        tell(report, f"{ranks} ranks, {size_bytes / 1000:,.0f} KB", of_size)
    report.write()
    write_whole(LAST / "allreduce.png", chart(found, ranks).png)


def run(*command: str) -> dict[str, dict[str, float]]:
    """Start the ranks of one job. Returns what rank 0 measured."""
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[str, float]] = json.loads(said[said.index("{") :])
    return found


def tell(report: Report, title: str, by_name: Mapping[str, list[float]]) -> None:
    """Add the figures of one size to the report."""
    report.section(title)
    for name, values in by_name.items():
        report.figure(name, values, "us")
    report.figure("gloo / shm", ratios(by_name["gloo"], by_name["shm"]), "times")
    for name in by_name:
        if name.startswith("Open MPI"):
            report.figure(f"shm / {name}", ratios(by_name["shm"], by_name[name]), "times")


def torch_ranks() -> None:
    """Be a rank under torchrun: time shm and gloo."""
    with world.join(TrainConfig(device="cpu", comm="gloo", global_batch=240)) as here:
        torch.set_num_threads(1)
        mean, _ = shm.hook(here, spins=here.size <= environment.usable_cores())

        def gloo(tensor: torch.Tensor) -> None:
            tensor /= here.size
            dist.all_reduce(tensor)

        tensors = {size: torch.ones(size // 4) for size in SIZES}
        found = {
            name: {size: call_us(partial(call, tensor), size, here.barrier) for size, tensor in tensors.items()}
            for name, call in (("shm", mean), ("gloo", gloo))
        }
    if here.is_main:
        print(json.dumps(found))


def mpi_ranks() -> None:
    """Be a rank under mpirun: time Open MPI, in place as DDP needs it and into a buffer of its own."""
    import numpy as np
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    found: dict[str, dict[int, float]] = {"Open MPI": {}, "Open MPI, own buffer": {}}
    for size in SIZES:
        ours, others = np.ones(size // 4, dtype=np.float32), np.ones(size // 4, dtype=np.float32)
        found["Open MPI"][size] = call_us(partial(comm.Allreduce, MPI.IN_PLACE, ours), size, comm.Barrier)
        found["Open MPI, own buffer"][size] = call_us(partial(comm.Allreduce, ours, others), size, comm.Barrier)
    if comm.rank == 0:
        print(json.dumps(found))


def call_us(call: Callable[[], object], size: int, barrier: Callable[[], object]) -> float:
    """Return the median microseconds of a call, one after the other, after a few to warm up."""
    took_s = []
    calls = max(20, min(1_000, 200_000_000 // size))
    barrier()
    for _ in range(calls + calls // 10):
        begin = time.perf_counter()
        call()
        took_s.append(time.perf_counter() - begin)
    return 1e6 * median(took_s[calls // 10 :])


def chart(found: Figures, ranks: int) -> Chart:
    """Draw time against size."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, sizes in found.items():
            middle = [median(sizes[size]) for size in SIZES]
            spread = [[middle[i] - min(sizes[size]) for i, size in enumerate(SIZES)]]
            spread.append([max(sizes[size]) - middle[i] for i, size in enumerate(SIZES)])
            kilobytes = [size / 1000 for size in SIZES]
            axes.errorbar(kilobytes, middle, spread, label=name, color=COLOURS[name], marker="o", markersize=4)
        axes.set(xscale="log", yscale="log", xlabel="size (KB)", ylabel="time of an all-reduce (us)")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.legend(frameon=False, loc="lower right")

    small = SIZES[0]
    times = median(ratios(found["gloo"][small], found["shm"][small]))
    described = machine.describe()
    return Chart(
        slug="allreduce",
        finding=f"{small // 1000} KB between {ranks} ranks: shared memory takes 1/{times:.0f} of gloo's time",
        conditions=f"{described.cpu_model}, {described.cores} cores; median of {ROUNDS} rounds, lowest to highest",
        alt="",
        height=3.4,
        draw=draw,
    )


if __name__ == "__main__":
    inner = sys.argv[1] if len(sys.argv) > 1 else ""
    if inner == "torch":
        Life().run(torch_ranks)
    elif inner == "mpi":
        os.environ["OMP_NUM_THREADS"] = "1"
        mpi_ranks()
    else:
        main()
