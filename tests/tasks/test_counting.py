"""What a task counts over the test set, and is called: one figure that a record holds, or an error in one line."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ddpbench import config, fields
from ddpbench.errors import UserError
from ddpbench.tasks import task
from ddpbench.tasks.task import Task
from ddpbench.tasks.tested import Tested as Counted  # pytest takes a name that begins with Test for tests
from ddpbench.tasks.tested import add_up

TASK = """
import math
import numpy as np
import torch
from torch import nn

batch = 4
def model(): return nn.Linear(1, 1)
def data(): return (torch.arange(8.0).unsqueeze(1),) * 2
def loss(net, batch): return net(batch).sum(), len(batch)
"""


def of(folder: Path, text: str) -> tuple[Task, config.TrainConfig]:
    (folder / "my_task.py").write_text(TASK + text)
    cfg = config.make({"task": str(folder / "my_task.py")})
    return task.of(cfg), cfg


def counted(folder: Path, returned: str, constants: str = "") -> Counted:
    found, cfg = of(folder, f"{constants}\ndef metric(net, batch): return {returned}\n")
    return found.measure(nn.Identity(), torch.ones(3, 1), cfg)


@pytest.mark.parametrize(
    ("returned", "sums", "counts"),
    [
        ("{'error': (torch.tensor([1, 2]), torch.tensor([2, 2]))}", [1, 2], [2, 2]),
        ("{'error': ([1, 2.5], [2, 2])}", [1, 2.5], [2, 2]),
        ("{'error': (np.array([1, 2]), np.array([2.0, 2.0]))}", [1, 2], [2, 2]),
        ("{'error': (0.1, 3)}", [0.1], [3]),
        ("{'accuracy': (torch.tensor([0, 2]), torch.tensor([0, 2]))}", [0, 2], [0, 2]),
    ],
)
def test_numbers_and_vectors_of_them_are_counted(
    returned: str, sums: list[float], counts: list[float], tmp_path: Path
) -> None:
    found = counted(tmp_path, returned)

    assert (found.sums, found.counts) == (sums, counts)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("{'accuracy': (torch.ones(3), 3)}", "returned 3 sums and 1 counts; return one count for each sum"),
        ("{'error': (torch.ones(0), torch.ones(0))}", "returned 0 sums and 0 counts"),
        ("{'error': (1.0, math.nan)}", "returned the count nan; a count must be a number from 0 up"),
        ("{'error': (1.0, -2)}", "returned the count -2"),
        ("{'error': ('many', 2)}", "returned 'many' where a number or a vector of numbers must be"),
        ("{'error': ([[1], [2, 3]], 2)}", "where a number or a vector of numbers must be"),
        ("{'accuracy': (100 * 2, 3)}", "returned 200 of 3, and its accuracy is a share from 0 to 1; return the hits"),
    ],
)
def test_what_cannot_be_added_up_is_one_line(returned: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape("metric() of the task my_task.py returned")) as refused:
        counted(tmp_path, returned)

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_task_may_say_that_its_accuracy_is_no_share(tmp_path: Path) -> None:
    assert counted(tmp_path, "{'accuracy': (200, 3)}", "unit = ''").sums == [200]


def test_batches_with_other_parts_are_one_line() -> None:
    parts = [Counted("accuracy", [1.0] * size, [2.0] * size) for size in (7, 10)]

    with pytest.raises(UserError, match=r"^metric\(\) counts 7 parts in one batch and 10 in another; count the same"):
        add_up(parts)


def test_a_test_set_in_which_nothing_is_counted_is_one_line(tmp_path: Path) -> None:
    found, _ = of(tmp_path, "")

    with pytest.raises(UserError, match=r"^metric\(\) of the task my_task.py counted nothing over the whole test set"):
        found.score(Counted("accuracy", [0.0, 0.0], [0.0, 0.0]))


def test_a_part_without_samples_changes_no_figure(tmp_path: Path) -> None:
    assert of(tmp_path, "")[0].score(Counted("accuracy", [0.0, 1.0], [0.0, 2.0])) == 0.5


@pytest.mark.parametrize(
    ("score", "name", "said"),
    [
        ("score = torch.exp", "error", r"score\(\) of the task my_task.py failed: TypeError"),
        (
            "def score(mean): return 100 * mean",
            "accuracy",
            r"score\(\) of the task my_task.py returned 50, and its accu",
        ),
    ],
)
def test_a_score_that_is_no_figure_is_one_line(score: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        of(tmp_path, score)[0].score(Counted(name, [1.0], [2.0]))


@pytest.mark.parametrize("score", ["score = math.log", "score = math.exp"])
def test_a_function_that_does_not_tell_its_parameters_may_be_used(score: str, tmp_path: Path) -> None:
    found, cfg = of(tmp_path, f"{score}\ncollate = torch.stack\n")

    assert found.score(Counted("error", [2.0], [2.0])) in (0.0, pytest.approx(2.718281828))
    assert len(found.data(cfg).train) == 8


NAMES = """
parts = ["<=50K", ">50K", "a\\nb", "XXX"]
unit = "<mm>"
def model(model="<own>"): return nn.Linear(1, 1)
def metric(net, batch): return {"<unk> " + "y" * 400: (torch.ones(4), torch.ones(4))}
"""


def test_names_of_a_task_are_made_such_that_a_record_holds_them(tmp_path: Path) -> None:
    found, cfg = of(tmp_path, NAMES.replace("XXX", "x" * 400))
    whole = found.measure(nn.Identity(), torch.ones(4, 1), cfg)
    metric = found.metric(whole, cfg)
    settings = found.settings(cfg, "cpu", found.network(cfg), found.data(cfg))

    fields.require_readable(metric, "the metric")
    assert metric.parts[:3] == ["\u2039=50K", "\u203a50K", "a\\nb"]
    assert [len(each) for each in (metric.name, metric.parts[3])] == [300, 300]
    assert (metric.unit, settings.model) == ("\u2039mm\u203a", "\u2039own\u203a")


@pytest.mark.parametrize("rate", ["0.0", "-1.0", "float('nan')", "1e31"])
def test_a_rate_that_no_record_holds_is_refused_before_anything_trains(rate: str, tmp_path: Path) -> None:
    found, cfg = of(tmp_path, f"def lr(): return {rate}\n")

    with pytest.raises(UserError, match=r"^the task my_task.py cannot be recorded: .*\$\.lr") as refused:
        found.settings(cfg, "cpu", nn.Linear(1, 1), found.data(cfg))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [1e31, float("inf"), float("nan"), None])
def test_what_no_record_holds_is_no_figure(value: float | None) -> None:
    assert not fields.is_figure(value)
    assert fields.is_figure(-1e30)
