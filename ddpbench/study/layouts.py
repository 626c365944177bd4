"""How the ranks of a study are spread over hosts, and the flag that says so."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ddpbench.errors import UserError


class Layout(NamedTuple):
    """How ranks are spread: hosts, and ranks on each of them."""

    hosts: int
    ranks: int

    @property
    def size(self) -> int:
        """All ranks together."""
        return self.hosts * self.ranks

    def __str__(self) -> str:
        """Return `2x4`, as on the command line."""
        return f"{self.hosts}x{self.ranks}"


def read(words: Sequence[str], hosts: int) -> list[Layout]:
    """Read layouts such as `2x4`. Raises UserError for one that a job on so many hosts cannot have."""
    names = " ".join(words).replace(",", " ").split()
    if names and hosts == 1:
        raise UserError("--layouts is for several hosts, and this job has one; use --world-sizes 2 4")
    layouts = list[Layout]()
    for name in names:
        match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", name)
        if match is None:
            raise UserError(f"--layouts {name}: a layout is HOSTSxRANKS, both from 1 up, as in --layouts 1x2 2x2")
        layout = Layout(*map(int, match.groups()))
        if layout.hosts > hosts:
            raise UserError(f"--layouts {name} needs {layout.hosts} hosts, and this job has {hosts}; name no more")
        if layout in layouts:
            raise UserError(f"--layouts {' '.join(names)}: {name} is there twice; name each once")
        layouts.append(layout)
    return layouts
