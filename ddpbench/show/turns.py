"""The answer of turns in words: an outcome, the interval as a strip, the way from ideal workers, and every arm."""

import sys
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from ddpbench import errors
from ddpbench.arm import plural
from ddpbench.judge import turns
from ddpbench.judge.stats import Estimate, mean
from ddpbench.judge.turns import Outcome, Ratio
from ddpbench.turns import Launch, TurnArm, read_launches

TITLES: dict[Outcome, str] = {
    "faster": "FASTER",
    "slower": "SLOWER",
    "no_difference": "NO DIFFERENCE THAT MATTERS",
    "cannot_tell": "CANNOT TELL",
}
STRIP = 33  # columns; the middle one is equally fast
STRIP_REACH = 1.35  # the right end of the strip: so many times as fast


def answer(launches: Sequence[Launch], margin: float) -> list[str]:
    """Return the lines of the answer, each of at most 80 columns. `margin` is 0.03 for 3 %."""
    batch = launches[0].settings.global_batch
    parallel, reference = turns.parallel_of(launches, batch), turns.reference_of(launches, batch)
    ratio = turns.ratio(launches, parallel, reference)
    return [
        f"{TITLES[ratio.outcome(margin)]}   {parallel.arm.label} against {reference.arm.label}",
        f"  speed    {_speed_text(ratio)}",
        *([f"           {_strip(ratio)}"] if ratio.low is not None else []),
        *_why(launches, parallel, reference),
        f"  machine  {_machine(launches, parallel, reference)}",
        "",
        *_table(launches, reference),
    ]


def percent(ratio: float) -> str:
    """Return a speed against another: `7 % faster`, `4 % slower`, `equally fast`."""
    change = round(100 * (ratio - 1), 1 if abs(ratio - 1) < 0.02 else None)
    if change == 0:
        return "equally fast"
    return f"{abs(change):g} % {'faster' if change > 0 else 'slower'}"


def _speed_text(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{percent(ratio.value)} (one launch: no interval)"
    return (
        f"{percent(ratio.value)}: {percent(ratio.low)} to {percent(ratio.high)} (95 %, n = {ratio.launches} launches)"
    )


def _strip(ratio: Ratio) -> str:
    """Draw the interval on a scale whose middle means equally fast."""
    assert ratio.low is not None
    assert ratio.high is not None

    def column(value: float) -> int:
        reach = STRIP_REACH - 1
        return round(max(0.0, min(1.0, 0.5 + (value - 1) / reach / 2)) * (STRIP - 1))

    cells = ["·"] * STRIP
    for place in range(column(ratio.low), column(ratio.high) + 1):
        cells[place] = "-"
    cells[STRIP // 2] = "|"
    cells[column(ratio.value)] = "o"
    return f"{2 - STRIP_REACH:.2f}x {''.join(cells)} {STRIP_REACH:.2f}x"


def _why(launches: Sequence[Launch], parallel: TurnArm, reference: TurnArm) -> list[str]:
    """Return the way from ideal workers to the arm. Causes that cannot be told from zero stand together."""
    levels = turns.levels(launches, parallel, reference)
    if len(levels) < 2:
        return []
    ideal, took = mean(levels[0].by_launch), mean(levels[-1].by_launch)
    lines = [f"  why      {1e3 * took.value:.2f} ms a step; {1e3 * ideal.value:.2f} ms with ideal workers"]
    uncertain: list[str] = []
    rest_s = [0.0] * len(launches)
    for before, after in pairwise(levels):
        costs_s = [late - early for early, late in zip(before.by_launch, after.by_launch, strict=True)]
        cost = mean(costs_s)
        if cost.low is None or cost.low <= 0 <= (cost.high or 0):
            uncertain.append(after.name)
            rest_s = [sum(pair) for pair in zip(rest_s, costs_s, strict=True)]
        else:
            lines.append(f"           {_cost(cost)}  {after.name}")
    if uncertain:
        text = f"{_cost(mean(rest_s))}  together, none told from zero: {', '.join(uncertain)}"
        lines += textwrap.wrap(text, 80, initial_indent=" " * 11, subsequent_indent=" " * 13, break_on_hyphens=False)
    return lines


def _cost(cost: Estimate) -> str:
    bounds = "" if cost.low is None or cost.high is None else f" ({1e3 * cost.low:+.2f} to {1e3 * cost.high:+.2f})"
    return f"{1e3 * cost.value:+.2f}{bounds} ms"


def _machine(launches: Sequence[Launch], parallel: TurnArm, reference: TurnArm) -> str:
    stalled = max(turns.stalled_share(launches, turn) for turn in (parallel, reference))
    return f"its host took {turns.stolen_share(launches):.1%} of the CPU time; {stalled:.0%} of blocks were disturbed"


def _table(launches: Sequence[Launch], reference: TurnArm) -> list[str]:
    rounds = sum(len(launch.order) for launch in launches)
    lines = [f"{'arm':<30}{'batch':>6}{'ms a step':>11}  speed against the single process"]
    for turn in turns.turns(launches):
        step_s = fmean(median(turns.sample_s(turns.of_arm(launch, turn))) for launch in launches) * turn.global_batch
        ratio = turns.ratio(launches, turn, reference)
        shown = "the reference" if turn == reference else _short(ratio)
        lines.append(f"{_label(turn):<30}{turn.global_batch:>6}{1e3 * step_s:>11.2f}  {shown}")
    count = plural(len(launches), "launch") if len(launches) == 1 else f"{len(launches)} launches"
    lines.append(
        f"{count}, {plural(rounds, 'round')}; ms a step: median of rounds; speed per sample, 95 % over launches"
    )
    return lines


def _short(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}x"
    return f"{ratio.value:.2f}x ({ratio.low:.2f} - {ratio.high:.2f})"


def _label(turn: TurnArm) -> str:
    if turn.arm.comm == "none":
        return f"{turn.arm.world_size} x {turn.arm.threads_per_rank}, never communicating"
    if turn.arm.comm == "nothing":
        return f"ddp {turn.arm.world_size} x {turn.arm.threads_per_rank}, exchanging nothing"
    return turn.arm.label


def main() -> None:
    """Print the answer of a folder: python -m ddpbench.show.turns FOLDER MARGIN."""
    folder, margin = sys.argv[1:]
    for line in answer(read_launches(Path(folder)), float(margin)):
        print(line)


if __name__ == "__main__":
    errors.run(main, name="launch.sh")
