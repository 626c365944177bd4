"""Gradients between two hosts of two ranks: shared memory inside and sockets between them against gloo for all ranks.

python -m benchmarks.between            over links of 1 Gbit/s; as root, with ip and tc of iproute2
python -m benchmarks.between 10gbit     over others, as tc names a rate

The hosts are namespaces on this machine with a core each (tests/hosts/network.py). The kernel's token bucket filter
limits their links. Both ways take turns in one run. Each replaces a tensor of float32 by its mean over ranks, as DDP
asks for, with nothing to compute meanwhile. Calls follow one another; a figure is rank 0's mean call of a round.

The last case is a whole backward pass with several buckets. Its third way waits for the sockets after each bucket: what
shm+gloo gains over that is what it sends while gradients are still computed.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.rounds import Report, in_turn, ratios
from ddpbench.comm import between, ddp
from ddpbench.config import TrainConfig
from ddpbench.train import world
from ddpbench.train.life import Life
from tests.hosts.network import TORCHRUN, Network

HOSTS, RANKS, ROUNDS = 2, 2, 15
SIZES = {4_000: 60, 230_000: 60, 4_000_000: 10, 25_000_000: 3}  # bytes, with the calls of a round; the second is cnn's

LAYERS, WIDTH, SAMPLES = 10, 1024, 128  # of a network: 42 MB of gradients, in three buckets


def main() -> None:
    """Measure, print, and keep the figures."""
    rate = (sys.argv[1:] or ["1gbit"])[0]
    report = Report("between")
    for title, by_name in run(rate).items():
        report.section(f"{HOSTS} hosts x {RANKS} ranks, {rate}, {title}")
        for name, values in by_name.items():
            report.figure(name, [1e3 * value for value in values], "ms")
        for name in by_name:
            if name != "gloo":
                report.figure(f"{name} / gloo", ratios(by_name[name], by_name["gloo"]), "times")
    report.write()


def run(rate: str) -> dict[str, dict[str, list[float]]]:
    """Start the ranks on their hosts. Returns what rank 0 measured: seconds of each round, by case and way."""
    with Network(HOSTS, rate=rate, cores=[str(host) for host in range(HOSTS)]) as network:
        shape = (f"--nnodes={HOSTS}", f"--nproc-per-node={RANKS}", "--master-port=29511")
        started = []
        for host in network.hosts:
            place = (f"--node-rank={host.index}", f"--master-addr={network.hosts[0].address}")
            started.append(host.start(*TORCHRUN, *shape, *place, "-m", "benchmarks.between", "rank"))
        said, errors = started[0].communicate(timeout=900)
        if started[0].returncode:
            sys.exit(errors)
    found: dict[str, dict[str, list[float]]] = json.loads(said[said.index("{") :])
    return found


def rank() -> None:
    """Be a rank under torchrun."""
    with world.join(TrainConfig(device="cpu", comm="gloo", global_batch=240, threads=1)) as here:
        mean, _ = between.hook(here, spins=False)

        def gloo(tensor: torch.Tensor) -> None:
            tensor /= here.size
            dist.all_reduce(tensor)

        def ours(tensor: torch.Tensor) -> None:
            mean(tensor, is_last=True)

        found = {}
        for size, calls in SIZES.items():
            tensor = torch.ones(size // 4)
            ways = {"gloo": partial(gloo, tensor), "shm+gloo": partial(ours, tensor)}
            found[f"{size / 1000:,.0f} KB"] = take_turns(ways, calls, here)
        nets = {name: ddp.wrap(network(), here, name) for name in ("gloo", "shm+gloo")}
        nets["shm+gloo, waiting after each bucket"] = waiting = ddp.Ddp(network())
        waiting.register_comm_hook(mean, reduce_and_wait)
        samples = torch.ones(SAMPLES, WIDTH)
        passes = {name: partial(backward, net, samples) for name, net in nets.items()}
        found[f"a pass with {LAYERS * WIDTH * WIDTH * 4 / 1e6:.0f} MB of gradients"] = take_turns(passes, 2, here)
    if here.is_main:
        print(json.dumps(found))


def take_turns(ways: Mapping[str, Callable[[], object]], calls: int, here: world.World) -> dict[str, list[float]]:
    """Return the seconds of a call of each round, by way. A first round does not count."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, ROUNDS):
        for name in in_turn([*ways], turn):
            took_s = call_s(ways[name], calls, here.barrier)
            if turn >= 0:
                found[name].append(took_s)
    return found


def network() -> nn.Module:
    """Return a network whose gradients fill several buckets."""
    return nn.Sequential(*[layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())])


def backward(net: nn.Module, samples: torch.Tensor) -> None:
    """Take a step without an optimizer."""
    net.zero_grad()
    net(samples).sum().backward()


def reduce_and_wait(mean, bucket):  # type: ignore[no-untyped-def]  # DDP refuses any annotation but its own
    """Reduce a bucket to its end: a hook as `between.reduce_bucket` would be if it held up backward."""
    return mean(bucket.buffer(), is_last=True)


def call_s(call: Callable[[], object], calls: int, barrier: Callable[[], object]) -> float:
    """Return the mean seconds of a call, one after the other, after one that does not count."""
    call()
    barrier()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls


if __name__ == "__main__":
    if sys.argv[1:] == ["rank"]:
        Life().run(rank)
    else:
        main()
