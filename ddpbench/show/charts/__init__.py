"""The pictures: a finding in the title, the conditions in a small second line, one colour an arm.

isolation the user's set-up of matplotlib, kept out
style     colours, fonts, and the pieces that charts share
arms      time and accuracy of every arm; speedup and efficiency
learning  loss and accuracy
time      where an epoch goes; what each rank does
sweep     speedup against global batch
"""

from ddpbench.judge.arms import is_result
from ddpbench.judge.judgement import Judgement
from ddpbench.show.charts import isolation

with isolation.defaults():
    from ddpbench.show.charts import arms, learning, sweep, time
    from ddpbench.show.charts.style import Chart


def of(judged: Judgement) -> list[Chart]:
    """Return the charts of the report, the most important first. What was not measured is not drawn."""
    if judged.sweep is not None:
        return [sweep.speedup(judged.sweep)]
    charts = [arms.comparison(judged)]
    if judged.main_breakdown is not None:
        charts.append(time.breakdown(judged, judged.main_breakdown))
    if any(result.efficiency for result in judged.results):
        charts.append(arms.speedup(judged))
    if judged.reference is not None and judged.parallel is not None:
        charts += [learning.curves(judged), learning.classes(judged)]
    if judged.parallel is not None and judged.parallel.arm.world_size > 1:
        charts.append(time.ranks(judged.parallel))
    return charts


def of_each_arm(judged: Judgement) -> list[Chart]:
    """Return the charts of the original experiment: loss and accuracy, `parallel-False` being the reference.

    `parallel-True` is the parallel arm of the verdict.
    """
    found = []
    for name, result in (("False", judged.reference), ("True", judged.parallel)):
        if result is not None and (not is_result(result.arm) or name == "True"):
            found += [
                learning.loss(result, f"Loss-parallel-{name}"),
                learning.accuracy(result, f"Accuracy-parallel-{name}"),
            ]
    return found
