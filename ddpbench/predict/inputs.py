"""What a prediction is made from: the newest study of one host, the link, and what earlier predictions were worth."""

from dataclasses import dataclass, replace
from statistics import median

from ddpbench import link
from ddpbench.arm import plural
from ddpbench.command import COMMAND
from ddpbench.errors import UserError
from ddpbench.judge import study
from ddpbench.judge.epochs import num_steps
from ddpbench.judge.study import Study
from ddpbench.predict import measured, network, past
from ddpbench.predict.draws import Dice
from ddpbench.predict.measured import Measured
from ddpbench.predict.model import Work
from ddpbench.predict.network import Network
from ddpbench.predict.options import Options
from ddpbench.turns import Launch

ROUNDED = {"fp16": 2, "bf16": 2}  # bytes of a number that such a comm sends; others send numbers as they are
UNKNOWN_SAMPLES = 1_000_000  # stand for an epoch where nobody says how many samples it has


@dataclass(frozen=True)
class Inputs:
    """All that the model needs, and what is said about it."""

    study: Study
    measured: Measured
    network: Network
    work: Work
    unit: str  # what the times and costs are of
    before: list[past.Prediction]
    error: past.Error

    @property
    def launch(self) -> Launch:
        """The newest launch. It stands for the conditions of the study."""
        return self.study.launches[-1]

    @property
    def measured_hosts(self) -> int:
        """The largest number of hosts on which a launch ran."""
        return max(launch.hosts for launch in self.study.launches)

    def subject(self) -> str:
        """Return what is foretold of."""
        settings, rank = self.launch.settings, self.measured.rank
        ranks = f"{plural(rank.per_host, 'rank')} of {plural(rank.threads, 'thread')} on each host"
        where = f"{settings.model} on {settings.dataset}, batch {self.measured.global_batch} on one host"
        return f"{where}, {ranks}, {self.network.comm}"

    def lines(self) -> list[str]:
        """Return what the prediction rests on, in words, with n."""
        one, net, error = self.measured, self.network, self.error
        launches = plural(one.launches, "launch").replace("launchs", "launches")
        batches = ", ".join(map(str, one.alone_s))
        lines = [f"study {self.study.name}: {launches}; one rank alone at batches {batches}"]
        lines.append(f"one host: {one.one_host.label}, its fastest arm at batch {one.global_batch}")
        if one.sharing_by != "one rank":
            by = "ranks that never communicate" if one.sharing_by == "control" else "DDP's time outside of reductions"
            lines.append(f"sharing a host: {median(one.sharing):.2f} times as long, by {by}")
        if one.sharing_by != "ddp" and not one.bookkeeping_s:
            lines.append("DDP's bookkeeping: not measured, and not in the figures")
        if one.replayed:
            lines.append(f"reading data: not in the figures at batch {', '.join(map(str, one.replayed))}")
        by = "waiting of ranks of one host" if one.spread_by == "waiting" else "blocks of steps of one rank"
        lines.append(f"spread of a step: {100 * median(one.spread):.1f} %, by {by}; the slowest of N by the normal")
        figures = f"{1e3 * net.alpha_s[0]:.3g} ms a step of the ring, {1e-6 / max(net.byte_s[0], 1e-15):.4g} MB/s"
        lines.append(f"link: {figures} ({self._source()})")
        if net.comm in ROUNDED:
            sent = f"{100 * self.work.sent:.0f} % of the bytes of gradients are sent"
            lines.append(f"{net.comm}: {sent}; the time to round them was not measured, and is not in the figures")
        if self.work.startup_s == 0:
            lines.append("start-up: not measured, and not in the figures")
        by = f"prior of {100 * past.PRIOR[net.source]:.0f} % worth {past.PRIOR_COUNTS} predictions"
        tested = f"{error.held} of {error.tested} inside their 95 % bands" if error.tested else "none was run yet"
        error_of = f"error of the model: {100 * error.spread:.0f} % (one standard deviation)"
        lines.append(f"{error_of}, by a {by}; of earlier ones {tested}")
        return lines

    def _source(self) -> str:
        """Return where the figures of the link are from."""
        net = self.network
        if net.source == "given":
            return "given by hand, as of 2 hosts"
        ranks = "" if net.ranks == self.measured.rank.per_host else f" with {plural(net.ranks, 'rank')} on each"
        whose = f"up to {net.most_hosts} hosts{ranks}"
        if net.pairs > 1:
            whose += f"; of {net.pairs} pairs the slowest at each size, because a ring is as fast as that"
        return f"n = {net.n} exchanges, {whose}"


def collect(options: Options, dice: Dice) -> Inputs:
    """Read everything. Raises UserError where something is missing, with the command that measures it."""
    found = study.load([options.study])
    if not found.launches:
        raise UserError(f"{found.folder} has no launches of turns; run: {COMMAND} sweep")
    settings, on_gpu = found.launches[-1].settings, found.launches[-1].settings.device == "cuda"
    one_host = measured.measure(found.launches, options.ranks, options.global_batch, on_gpu=on_gpu)
    net = _network(options, "nccl" if on_gpu else "gloo", one_host.rank.per_host, dice)
    samples, unit, startup_s = _epoch(options, found)
    width = 8 if settings.precision == "fp64" else 4
    gradient_bytes, sent = width * found.launches[-1].parameters, ROUNDED.get(net.comm, width) / width
    work = Work(gradient_bytes, settings.accumulate, samples, startup_s, options.is_weak, sent)
    before = past.with_results(past.read(options.results), options.results)
    return Inputs(found, one_host, net, work, unit, before, past.error(before, net.source))


def _network(options: Options, usual: str, ranks_per_host: int, dice: Dice) -> Network:
    if options.comm == link.HIERARCHICAL and ranks_per_host == 1:
        raise UserError(f"--comm {options.comm} is for several ranks on each host, and there is one; foretell gloo")
    if options.given is not None:
        return network.given(*options.given, options.comm or usual, dice)
    path = options.link or link.path_in(options.results)
    if not path.exists():
        raise UserError(
            f"no link between hosts was measured ({path}); run on two hosts: {COMMAND} check; or give one: "
            "--bandwidth 1gbit --latency-ms 0.2"
        )
    found = link.read(path)
    comm = options.comm or (usual if usual in found.comms else found.comms[0])
    # Rounded gradients are sent by what is usual on this device, as fewer bytes.
    net = network.fitted(found, usual if comm in ROUNDED else comm, ranks_per_host, dice)
    return replace(net, comm=comm)


def _epoch(options: Options, found: Study) -> tuple[int, str, float]:
    """Return the samples of an epoch, what they are called, and the share of start-up in an epoch."""
    runs = [record for record in found.records if record.kind == "ddp"] or found.records
    if not runs:
        samples = options.samples or UNKNOWN_SAMPLES
        return samples, "an epoch" if options.samples else "for 1M samples", 0.0
    samples = options.samples or num_steps(runs[-1]) * runs[-1].settings.global_batch
    return samples, "an epoch", median([run.startup_s for run in runs]) / runs[-1].settings.epochs
