"""Charts: the title states a finding, a small line the conditions, and an arm has the same colour everywhere.

isolation  keeps the user's matplotlib set-up out
style      colours, fonts, the Chart type, and the pieces that charts share
words      names and intervals in titles
strip      the answer as a picture
arms       time and metric of every arm
time       where a step goes; what each rank does
runs       how long whole runs take
launches   the launches in order of time
learning   training loss
measure    the axis of the metric
parts      the metric by part of the test set, such as its classes
scaling    speedup and efficiency of workers on one host
hosts      the same of hosts
sweep      speed against global batch
"""

from ddpbench.judge.arms import equal_to_the_bit
from ddpbench.judge.judgement import Judgement
from ddpbench.show.charts import isolation

with isolation.default_matplotlib():
    from ddpbench.show.charts import arms, hosts, launches, learning, parts, runs, scaling, strip, sweep, time
    from ddpbench.show.charts.style import Chart


def build(judgement: Judgement) -> list[Chart]:
    """Return the charts of the report, the most important one first. A chart needs what it shows to be measured."""
    if judgement.sweep is not None:
        return [sweep.speed(judgement, judgement.sweep)]
    charts, comparison, breakdown = list[Chart](), judgement.comparison, judgement.breakdown
    speed = comparison.speed if comparison else None
    if comparison is not None and speed is not None:
        charts.append(strip.strip(judgement, comparison, speed))
    if judgement.results:
        charts.append(arms.comparison(judgement))
    if breakdown is not None:
        charts.append(time.waterfall(judgement, breakdown))
    if comparison is not None and speed is not None and comparison.whole_run is not None:
        charts.append(runs.whole_run(judgement, comparison, comparison.whole_run, speed))
    if comparison is not None and speed is not None and speed.n > 1:
        charts.append(launches.launches(judgement, comparison))
    if comparison is not None and comparison.reference.runs and comparison.parallel.runs:
        charts.append(learning.curves(judgement, comparison))
        both = (comparison.reference, comparison.parallel)
        if not equal_to_the_bit(*both) and all(map(parts.has_parts, both)):
            charts.append(parts.classes(judgement, comparison))
    if breakdown is not None and (lag_s := time.lagging_rank(judgement, breakdown)) is not None:
        charts.append(time.ranks(judgement, breakdown, lag_s))
    if hosts.has_hosts(judgement):
        charts.append(hosts.hosts(judgement))
    return charts + ([scaling.speedup(judgement)] if scaling.has_speedup(judgement) else [])


def build_originals(judgement: Judgement) -> list[Chart]:
    """Return the charts that the original experiment drew: loss, and accuracy by class, of two arms, on equal axes.

    `parallel-False` is the reference, and `parallel-True` the parallel arm that the answer is about.
    """
    pair = (("False", judgement.reference), ("True", judgement.parallel))
    results = [(name, result) for name, result in pair if result is not None and result.runs]
    with_parts = bool(results) and all(parts.has_parts(result) for _, result in results)
    return [*(learning.losses(results) if results else []), *(parts.originals(results) if with_parts else [])]
