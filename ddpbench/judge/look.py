"""What the launches of a folder say so far: asked by the orchestrator between launches, in a process of its own.

python -m ddpbench.judge.look FOLDER WITHIN MARGIN DESCRIPTOR      answers a turns.Look as JSON on the descriptor
"""

import sys
from pathlib import Path

from ddpbench import errors, notes
from ddpbench.judge import turns
from ddpbench.turns import Look, read_launches


def look(folder: Path, within: float, margin: float) -> Look:
    """Judge the launches so far: 0.03 is 3 %. Raises UserError where a record is damaged."""
    launches = read_launches(folder)
    batch = launches[0].settings.global_batch
    parallel, reference = turns.parallel_of(launches, batch), turns.reference_of(launches, batch)
    ratio = turns.ratio(launches, parallel, reference)
    return Look(
        parallel=parallel.arm.label,
        reference=reference.arm.label,
        speedup=ratio.value,
        low=ratio.low,
        high=ratio.high,
        outcome=ratio.outcome(margin),
        is_known=ratio.is_known(within, margin),
    )


def main() -> None:
    """Answer."""
    folder, within, margin, descriptor = sys.argv[1:]
    notes.answer(int(descriptor), look(Path(folder), float(within), float(margin)))


if __name__ == "__main__":
    errors.run(main, name="launch.sh")
