"""The rows of a sweep agree with its title, which names only what intervals support."""

from dataclasses import replace
from pathlib import Path

from ddpbench.judge.stats import Estimate
from ddpbench.show import crossover
from tests.judge.studies import judge, swept


def test_the_best_batch_is_one_where_it_is_certainly_faster(tmp_path: Path) -> None:
    """At the largest batch the value is larger, and the interval too wide."""
    found = judge(tmp_path, *swept()).sweep
    assert found is not None
    *points, last = found.points
    unsure = replace(last, speed=Estimate(3.0, 0.9, 10.0, 3), outcome="cannot_tell")
    made = replace(found, points=[*points, unsure])
    so = dict(crossover.sweep_rows(made, "launch", "accuracy"))["so"]

    assert points[-1].outcome == "faster"
    assert so.startswith("the best batch is 512, ")
    assert so.endswith(": bash launch.sh --global-batch 512")
