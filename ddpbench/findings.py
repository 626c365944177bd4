"""What a check of a task says before it is measured, as the record of a launch keeps it."""

from typing import Literal

from ddpbench.errors import one_line
from ddpbench.fields import Part, Seconds, Text

# Whether workers that share a batch compute the gradient that one process computes. "batch_norm": they would, but for
# the statistics of batch norm. "batch_loss": the loss is no sum over samples. "not_shown": it draws random numbers, or
# DDP's workers compute another gradient for a reason that the check does not know.
EqualGradient = Literal["exact", "batch_norm", "batch_loss", "not_shown"]

MOST_CHARACTERS = 300  # of a Text


class Check(Part, frozen=True):
    """What the check of a task found. Every finding is one plain sentence; there is none where all is usual."""

    equal_gradient: EqualGradient
    findings: list[Text]
    took_s: Seconds


def sentence(text: str) -> str:
    """Return a sentence as a record may hold it, whatever names of the user's stand in it."""
    plain = one_line(text).replace("<", "(").replace(">", ")")
    return plain if len(plain) <= MOST_CHARACTERS else plain[: MOST_CHARACTERS - 4] + " ..."
