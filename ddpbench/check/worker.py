"""The process of a check that imports torch. python -m ddpbench.check.worker DESCRIPTOR

It writes one answer a line to the descriptor, typed JSON, each as soon as it knows it, and ends. What hangs or crashes
here is known to the check by the answers that do not come.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator

import msgspec

from ddpbench import environment
from ddpbench.check import asked, twin
from ddpbench.check.facts import Answer, Gpus, Shared, Torch


def main() -> None:
    """Answer, and end."""
    with asked.begin() as answers:
        for answer in answer_all():
            answers.write(msgspec.json.encode(answer) + b"\n")


def answer_all() -> Iterator[Answer]:
    """Yield what there is to know. Without torch, that is less."""
    yield twin.loopback()
    torch = import_torch()
    yield torch
    if torch.problem is None:
        yield share()
        yield compute()


def import_torch() -> Torch:
    """Import torch, and return which it is and how long that took."""
    began_s = time.perf_counter()
    try:
        import torch
    except Exception as problem:
        return Torch(problem=_line_of(problem))
    took_s = time.perf_counter() - began_s
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs"
    if torch.version.hip:
        built_for = f"ROCm {torch.version.hip}"
    return Torch(version=str(torch.__version__), built_for=built_for, import_s=took_s)


def share() -> Shared:
    """Combine data of two ranks by `--comm shm`."""
    import torch

    from ddpbench.comm import shm

    lacking = shm.missing()
    if lacking is not None:
        return Shared(problem=f"it needs {lacking}, which this platform lacks")
    torch.set_num_threads(1)  # no pool of threads is there when this process forks
    spins = environment.usable_cores() >= twin.Pair.size

    def take_part(rank: int, line: socket.socket) -> tuple[float, float, bool]:
        """Be one rank. Returns how long both sizes take, and whether the means were right."""
        line.settimeout(twin.PATIENCE_S)
        mean, _ = shm.hook(twin.Pair(rank, line), spins=spins)
        buckets = {size: torch.zeros(size // 4) for size in twin.TIMES}
        right = []

        def exchange(size: int) -> None:
            bucket = buckets[size]
            bucket[:: bucket.numel() - 1] = 1.0 + 2 * rank  # the first and the last: to fill all takes time
            mean(bucket)
            right.append(bool((bucket[:: bucket.numel() - 1] == 2.0).all()))

        small_s, large_s = twin.medians_s(exchange)
        return small_s, large_s, all(right)

    ours, theirs = socket.socketpair()
    try:
        with ours, theirs, twin.beside(lambda: take_part(1, theirs)):
            theirs.close()  # so that this rank notices when its twin ends
            small_s, large_s, is_right = take_part(0, ours)
    except Exception as problem:
        return Shared(problem=_line_of(problem))
    return Shared(small_s=small_s, large_s=large_s, is_wrong=not is_right)


def compute() -> Gpus:
    """Let every GPU that torch sees compute something. Call it last: a process that has used GPUs must not fork."""
    import torch

    models = []
    try:
        kind = torch.accelerator.current_accelerator(check_available=True)
        count = torch.accelerator.device_count() if kind is not None and kind.type == "cuda" else 0
        models = [torch.cuda.get_device_name(index) for index in range(count)]
        for index in range(count):
            torch.ones(2, device=f"cuda:{index}").sum().item()
    except Exception as problem:
        return Gpus(models=models, problem=_line_of(problem))
    return Gpus(models=models)


def _line_of(problem: Exception) -> str:
    """Return what a failure says first."""
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    return next((line for line in text.splitlines() if line.strip()), type(problem).__name__)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # to take torch apart would take time
