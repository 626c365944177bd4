"""Whether workers compute the gradient that one process computes: sound tasks are exact, others get their sentence."""

import random
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.findings import Check, sentence
from ddpbench.tasks import task
from ddpbench.train import findings
from ddpbench.train.alone import _Examination, examine
from tests.train.user_tasks import CONTRASTIVE, NORMS, PLAIN, WORDS, checked

pytestmark = pytest.mark.usefixtures("one_thread")  # tests run side by side

EXACT = {
    "a sum and its number": "",
    "a mean over samples": "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1])",
    "dropout": "def model(): return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 3))",
    "dropout between layers": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(8, 3)
    def forward(self, x): return self.out(self.rnn(x.unsqueeze(1))[0][:, -1])
def model(): return Net()
""",
    "dropout by number": """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)
        self.drop_prob = 0.5
    def forward(self, x): return super().forward(F.dropout(x, self.drop_prob, self.training))
def model(): return Net()
""",
    "single precision within": """
class Net(nn.Linear):
    def forward(self, x): return super().forward(x.float())
def model(): return Net(8, 3)
""",
    "a gradient of 0 but for rounding": """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)
        self.shift = nn.Parameter(torch.ones(()))
    def forward(self, x): return super().forward(x) + self.shift
def model(): return Net()
""",
    "a tensor that cannot be copied": """
def model():
    net = nn.Linear(8, 3)
    net.kept = net.weight * 2
    return net
""",
    "padding, counted": WORDS
    + """
def loss(net, batch):
    x, y = batch[:, :-1], batch[:, 1:]
    return F.cross_entropy(net(x).flatten(0, 1), y.flatten(), reduction="sum", ignore_index=0), (y != 0).sum()
""",
    "a network that is called twice, by a method of its own": """
class Net(nn.Linear):
    def score(self, x): return {"scores": self(x) + self(-x)}
def model(): return Net(8, 3)
def loss(net, batch): return F.cross_entropy(net.score(batch[0])["scores"], batch[1], reduction="sum"), len(batch[1])
""",
    "an output that DDP could not search": """
import dataclasses
@dataclasses.dataclass
class Output:
    scores: torch.Tensor
class Net(nn.Linear):
    def forward(self, x): return Output(super().forward(x))
def model(): return Net(8, 3)
def loss(net, batch): return F.cross_entropy(net(batch[0]).scores, batch[1], reduction="sum"), len(batch[1])
""",
    "weight norm": "def model(): return nn.utils.parametrizations.weight_norm(nn.Linear(8, 3))",
    "spectral norm": "def model(): return nn.utils.parametrizations.spectral_norm(nn.Linear(8, 3))",
    "activations that are computed again": """
from torch.utils.checkpoint import checkpoint
class Net(nn.Sequential):
    def forward(self, x): return checkpoint(super().forward, x, use_reentrant=False)
def model(): return Net(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
""",
    "batch norm that does not look at the batch": """
class Net(nn.Sequential):
    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self
def model(): return Net(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 3))
""",
}
# What is not: the text of the task, its outcome, and the start of its one sentence.
UNEQUAL = {
    "batch norm": (
        NORMS,
        "batch_norm",
        "batch norm in 1 layer: at 2 workers it sees 16 samples instead of 32; the workers train another model",
    ),
    "batch norm without running statistics": (
        NORMS.replace("16), nn.ReLU", "16, track_running_stats=False), nn.ReLU"),
        "batch_norm",
        "batch norm in 1 layer: at 2 workers it sees 16 samples instead of 32",
    ),
    "batch norm that is called twice": (
        NORMS + "\ndef loss(net, batch): return F.cross_entropy(net(batch[0]) + net(-batch[0]), batch[1])",
        "batch_norm",
        "batch norm in 1 layer: at 2 workers it sees 16 samples instead of 32",
    ),
    "samples that are mixed with each other": (
        """
def loss(net, batch): return F.cross_entropy(net(batch[0] + batch[0].flip(0)), batch[1], reduction="sum"), len(batch[1])
""",
        "batch_loss",
        "the loss depends on which samples meet in a batch: at 2 workers each sees a part of it",
    ),
    "a contrastive loss": (
        CONTRASTIVE,
        "batch_loss",
        "the loss depends on which samples meet in a batch: at 2 workers each sees a part of it",
    ),
    "a mean over unlike numbers": (
        WORDS
        + """
def loss(net, batch):
    x, y = batch[:, :-1], batch[:, 1:]
    return F.cross_entropy(net(x).flatten(0, 1), y.flatten(), ignore_index=0)
""",
        "batch_loss",
        "loss() returns a mean over unlike numbers, so 2 workers follow another gradient: each counts alike, and "
        "should count 0.",
    ),
    "a mean given as a sum": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]), len(batch[1])",
        "batch_loss",
        "loss() returns a mean as its sum, so 2 workers follow a gradient 2 times as large; return (sum, count)",
    ),
    "a sum without a number": (
        'def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1], reduction="sum")',
        "batch_loss",
        "loss() returns a sum with the number 1 for a batch, and 2 for its 2 shares together; return (sum, count)",
    ),
    "random numbers of its own": (
        """
def loss(net, batch):
    return F.cross_entropy(F.dropout(net(batch[0]), 0.5), batch[1], reduction="sum"), len(batch[1])
""",
        "not_shown",
        "the network draws random numbers which this check cannot switch off",
    ),
}


@pytest.mark.parametrize("model", ["mlp", "cnn", "cnn-small"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_our_own_networks_are_exact_and_nothing_is_said(model: str, ranks: int) -> None:
    cfg = TrainConfig(model=model, dataset="synthetic", device="cpu")
    found = examine(task.of(cfg), task.of(cfg).data(cfg), cfg, ranks)

    assert (found.equal_gradient, found.findings) == ("exact", [])


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("what", EXACT)
def test_what_workers_compute_equally_is_exact(what: str, ranks: int, tmp_path: Path) -> None:
    found = checked(tmp_path, EXACT[what], ranks)

    assert (found.equal_gradient, found.findings) == ("exact", [])


@pytest.mark.parametrize("what", UNEQUAL)
def test_what_workers_compute_otherwise_is_said(what: str, tmp_path: Path) -> None:
    text, equal, said = UNEQUAL[what]
    found = checked(tmp_path, text)

    assert found.equal_gradient == equal
    assert [each[: len(said)] for each in found.findings] == [said]


def test_batch_norm_does_not_hide_a_loss_over_the_batch(tmp_path: Path) -> None:
    found = checked(tmp_path, NORMS + CONTRASTIVE)

    assert found.equal_gradient == "batch_loss"
    assert [text.split(" ")[:2] for text in found.findings] == [["batch", "norm"], ["the", "loss"]]


def test_batch_norm_that_workers_share_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(PLAIN + NORMS)
    cfg = TrainConfig(task=str(path), global_batch=32, device="cpu")
    found, shared = task.of(cfg), replace(cfg, sync_batchnorm=True)
    examination = _Examination(found, found.data(cfg), shared, 2, torch.device("cpu"))

    assert examination.run(600.0).equal_gradient == "exact"


def test_batch_norm_of_all_workers_waits_for_none_of_them() -> None:
    net = nn.Sequential(nn.SyncBatchNorm(3), nn.Linear(3, 3))
    findings.without_peers(net)

    assert not isinstance(net[0], nn.SyncBatchNorm)
    assert torch.allclose(net[0](torch.arange(12.0).view(4, 3)).mean(0), torch.zeros(3), atol=1e-6)


def test_batch_norm_of_a_step_in_parts_sees_parts(tmp_path: Path) -> None:
    path = tmp_path / "my_task.py"
    path.write_text(PLAIN + NORMS)
    cfg = TrainConfig(task=str(path), global_batch=32, accumulate=4, device="cpu")
    (said,) = examine(task.of(cfg), task.of(cfg).data(cfg), cfg, 2).findings

    assert "at 2 workers it sees 4 samples instead of 8" in said


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--global-batch 32 does not divide over 3 ranks"):
        checked(tmp_path, ranks=3)


def test_a_share_of_one_sample_is_enough(tmp_path: Path) -> None:
    assert checked(tmp_path, ranks=32).equal_gradient == "exact"


def test_generators_stay_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(7)
    random.seed(7)
    before = torch.get_rng_state(), random.getstate()
    checked(tmp_path, "def model(): return nn.Sequential(nn.Linear(8, 3 + 0 * random.randint(0, 9)), nn.Dropout(0.5))")

    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize(("budget_s", "sizes"), [(600.0, {4, 16, 32}), (0.0, {2, 4})])
def test_what_takes_long_is_checked_with_fewer_samples(
    budget_s: float,
    sizes: set[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = checked(
        tmp_path,
        "def loss(net, batch): print(len(batch[1])); return F.cross_entropy(net(batch[0]), batch[1])",
        budget_s=budget_s,
    )

    assert found.equal_gradient == "exact"
    assert {int(size) for size in capsys.readouterr().out.split()} == sizes


def test_a_finding_fits_a_record() -> None:
    name = "<lambda>\n\x1b[31m" + "x" * 400
    found = Check(equal_gradient="exact", findings=[sentence(f"{name} differs")], took_s=0.1)

    assert msgspec.json.decode(msgspec.json.encode(found), type=Check) == found
    assert found.findings[0].startswith("(lambda)\\n\\x1b[31mxxx")
