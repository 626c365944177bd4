"""Ways of training: what the runs of a study have in common but for their seed."""

import msgspec

from ddpbench.record import Record

CONTROLS = ("none", "nothing")  # comms that exchange no gradients
COMPRESSED = ("fp16", "bf16", "powersgd")  # comms that round gradients, or approximate them


def plural(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def runs(count: int) -> str:
    """Return `1 run`, `2 runs`."""
    return plural(count, "run")


class Arm(msgspec.Struct, frozen=True, order=True):
    """A way of training. Runs of one arm differ in their seed alone."""

    kind: str  # as in a record, and so are the others
    world_size: int  # ranks, of all hosts together
    threads_per_rank: int
    comm: str | None  # None: one process
    hosts: int = 1  # each has equally many ranks

    @property
    def ranks_per_host(self) -> int:
        """How many of its ranks are on one host."""
        return self.world_size // self.hosts

    @property
    def is_control(self) -> bool:
        """Whether its ranks exchange no gradients: it shows what something costs, and is never a result."""
        return self.comm in CONTROLS

    @property
    def is_exact(self) -> bool:
        """Whether its ranks combine gradients as they are. Others round or approximate them: other arithmetic."""
        return self.comm not in COMPRESSED

    @property
    def restart_differs(self) -> str:
        """Why a run that was restarted has other bits than one in one go; "" where it has the same."""
        return "what powersgd had not sent yet is in no checkpoint" if self.comm == "powersgd" else ""

    @property
    def label(self) -> str:
        """The arm's name in text and charts: `ddp 2 x 1, gloo` is two ranks of one thread.

        `2 hosts x 2 x 1, gloo` is two such ranks on each of two hosts. Of the controls, ranks of `none` never
        communicate; those of `nothing` are wrapped and exchange no gradients.
        """
        shape = f"{self.ranks_per_host} x {self.threads_per_rank}"
        if self.hosts > 1:
            shape = wrapped = f"{self.hosts} hosts x {shape}"
        else:
            wrapped = f"ddp {shape}"
        if self.comm == "none":
            return f"{shape}, no communication"
        if self.comm == "nothing":
            return f"{wrapped}, nothing exchanged"
        if self.kind == "ddp":
            return f"{wrapped}, {self.comm}{'' if self.is_exact else ' (other arithmetic)'}"
        return f"{self.kind.replace('_', ' ')}, {plural(self.threads_per_rank, 'thread')}"

    @property
    def slug(self) -> str:
        """The arm's name in file names."""
        shape = f"{self.ranks_per_host}x{self.threads_per_rank}"
        parts = [self.kind.replace("_", "-"), f"{self.hosts}x{shape}" if self.hosts > 1 else shape, self.comm]
        return "-".join(part for part in parts if part)


def arm_of(record: Record) -> Arm:
    """Return the arm a run belongs to."""
    return Arm(record.kind, record.world_size, record.threads_per_rank, record.comm, record.hosts)
