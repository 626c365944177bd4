"""What the launches of a folder say so far: asked by the orchestrator between launches, in a process of its own.

python -m ddpbench.judge.look FOLDER WITHIN MARGIN DESCRIPTOR      answers a turns.Look as JSON on the descriptor
"""

import math
import sys
from pathlib import Path

from ddpbench import errors, notes
from ddpbench.command import NAME
from ddpbench.judge import timing
from ddpbench.judge.judgement import is_sweep
from ddpbench.judge.outcome import enough, is_known, is_settled, outcome_of
from ddpbench.judge.study import Study, findings
from ddpbench.judge.sweep import analyse
from ddpbench.judge.timing import Timing
from ddpbench.turns import Look, Pair, read_launches


def look(folder: Path, within: float, margin: float) -> Look:
    """Judge the launches so far: 0.03 is 3 %. Raises UserError where a record is damaged."""
    launches = read_launches(folder)
    timed = timing.of_launches(launches)
    study = Study(folder.name, folder, [], launches, [])
    said, round_s = findings(launches), max(launch.round_s[0] for launch in launches)
    if not is_sweep(study):
        pair = _pair(timed, launches[0].settings.global_batch, within, margin, is_swept=False)
        return Look([pair], None, said, round_s)
    swept = analyse(timed, margin)
    batches = sorted({turn.global_batch for turn in timed.turns})
    pairs = [_pair(timed, batch, within, margin, is_swept=True) for batch in batches]
    next_batch = swept.next_batch if swept and all(pair.low is not None for pair in pairs) else None
    return Look(pairs, next_batch, said, round_s)


def _pair(timed: Timing, global_batch: int, within: float, margin: float, *, is_swept: bool) -> Pair:
    """Compare the two arms at a batch. At a batch of a sweep the outcome is enough, however wide the interval."""
    parallel, reference = timed.parallel(global_batch), timed.reference(global_batch)
    assert parallel is not None, "every launch has an arm of several ranks"
    assert reference is not None, "every launch has a single process"
    speed = timed.speed(parallel, reference)
    assert speed is not None, "a launch has both arms"
    logs = timed.logs(parallel, reference)
    if is_swept and is_settled(logs, margin):
        within = math.inf
    return Pair(
        parallel=parallel,
        reference=reference,
        parallel_step_s=timed.step_s(parallel).value,
        reference_step_s=timed.step_s(reference).value,
        speed=speed.value,
        low=speed.low,
        high=speed.high,
        outcome=outcome_of(speed, margin),
        is_known=is_known(logs, within, margin),
        enough=min(1.0, enough(logs, within, margin)),  # JSON has no infinity
    )


def main() -> None:
    """Answer."""
    folder, within, margin, descriptor = sys.argv[1:]
    notes.answer(int(descriptor), look(Path(folder), float(within), float(margin)))


if __name__ == "__main__":
    errors.run(main, name=NAME)
