"""Charts: the title states a finding, a small line the conditions, and an arm has the same colour everywhere.

isolation  keeps the user's matplotlib set-up out
style      colours, fonts, the Chart type, and the pieces that charts share
arms       time and accuracy of every arm; speedup and efficiency
learning   loss and accuracy
time       where an epoch goes; what each rank does
sweep      speedup against global batch
"""

from ddpbench.judge.judgement import Judgement
from ddpbench.show.charts import isolation

with isolation.default_matplotlib():
    from ddpbench.show.charts import arms, learning, sweep, time
    from ddpbench.show.charts.style import Chart


def build(judgement: Judgement) -> list[Chart]:
    """Return the charts of the report, the most important one first. A chart needs what it shows to be measured."""
    comparison, breakdown = judgement.comparison, judgement.main_breakdown
    if judgement.sweep is not None:
        return [sweep.speedup(judgement.sweep)]
    charts = [arms.comparison(judgement)] if judgement.results else []
    if breakdown is not None:
        charts.append(time.waterfall(judgement.study.newest, breakdown))
    if any(result.efficiency for result in judgement.results):
        charts.append(arms.speedup(judgement))
    if comparison is not None:
        charts += [
            learning.curves(judgement.study.newest, comparison),
            learning.classes(judgement.study.newest, comparison),
        ]
    if judgement.parallel is not None and judgement.parallel.arm.world_size > 1:
        charts.append(time.ranks(judgement.parallel))
    return charts


def build_originals(judgement: Judgement) -> list[Chart]:
    """Return the charts that the original experiment drew: loss and accuracy, each of two arms.

    `parallel-False` is the reference, and `parallel-True` the parallel arm that the verdict is about.
    """
    charts = []
    for name, result in (("False", judgement.reference), ("True", judgement.parallel)):
        if result is not None:
            charts += [
                learning.loss(result, f"Loss-parallel-{name}"),
                learning.accuracy(result, f"Accuracy-parallel-{name}"),
            ]
    return charts
