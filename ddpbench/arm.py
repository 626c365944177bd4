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
    world_size: int  # ranks
    threads_per_rank: int
    comm: str | None  # None: one process

    @property
    def is_control(self) -> bool:
        """Whether its ranks exchange no gradients: it shows what something costs, and is never a result."""
        return self.comm in CONTROLS

    @property
    def is_exact(self) -> bool:
        """Whether its ranks combine gradients as they are. Others round or approximate them: other arithmetic."""
        return self.comm not in COMPRESSED

    @property
    def restarts_exactly(self) -> bool:
        """Whether a restart from a checkpoint changes no bit. powersgd keeps on every rank what it has not sent yet."""
        return self.comm != "powersgd"

    @property
    def label(self) -> str:
        """The arm's name in text and charts: `ddp 2 x 1, gloo` is two ranks of one thread.

        Of the controls, ranks of `none` never communicate; those of `nothing` are wrapped and exchange no gradients.
        """
        shape = f"{self.world_size} x {self.threads_per_rank}"
        if self.comm == "none":
            return f"{shape}, no communication"
        if self.comm == "nothing":
            return f"ddp {shape}, nothing exchanged"
        if self.kind == "ddp":
            return f"ddp {shape}, {self.comm}{'' if self.is_exact else ' (other arithmetic)'}"
        return f"{self.kind.replace('_', ' ')}, {plural(self.threads_per_rank, 'thread')}"

    @property
    def slug(self) -> str:
        """The arm's name in file names."""
        parts = [self.kind.replace("_", "-"), f"{self.world_size}x{self.threads_per_rank}", self.comm]
        return "-".join(part for part in parts if part)


def arm_of(record: Record) -> Arm:
    """Return the arm a run belongs to."""
    return Arm(record.kind, record.world_size, record.threads_per_rank, record.comm)
