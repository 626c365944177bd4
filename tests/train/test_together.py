"""What only several workers show: every fault is one line on every rank, and no rank waits for one that has failed."""

import msgspec
import pytest

from tests import warm
from tests.train.check_ranks import Told
from tests.train.user_tasks import CONTRASTIVE, NORMS, PLAIN, WORDS

pytestmark = pytest.mark.slow
RANKS = 2

BY_RANK = """
import os
RANK = int(os.environ["RANK"])
"""
CHECKPOINT = """
from torch.utils.checkpoint import checkpoint
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
    def forward(self, x):
        x = self.first(x)
        for _ in range(TIMES): x = checkpoint(self.again, x, use_reentrant=REENTRANT)
        return self.last(x)
def model(): return Net()
"""
# The text of a task, whether its gradients are equal, and the start of each sentence.
SOUND: dict[str, tuple[str, str, list[str]]] = {
    "plain": ("", "exact", []),
    "mean": ("def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1])", "exact", []),
    "dropout": (
        "def model(): return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 3))",
        "exact",
        [],
    ),
    "padding_that_is_counted": (
        WORDS
        + """
def loss(net, batch):
    x, y = batch[:, :-1], batch[:, 1:]
    return F.cross_entropy(net(x).flatten(0, 1), y.flatten(), reduction="sum", ignore_index=0), (y != 0).sum()
""",
        "exact",
        [],
    ),
    "batch_norm": (NORMS, "batch_norm", ["batch norm in 1 layer: at 2 workers it sees 16 samples instead of 32"]),
    "contrastive": (CONTRASTIVE, "batch_loss", ["the loss depends on which samples meet in a batch"]),
    "spectral_norm": ("def model(): return nn.utils.parametrizations.spectral_norm(nn.Linear(8, 3))", "exact", []),
    "reentrant_checkpointing": (
        CHECKPOINT.replace("TIMES", "1").replace("=REENTRANT", "=True"),
        "exact",
        [],
    ),
    "checkpointing_twice": (
        CHECKPOINT.replace("TIMES", "2").replace("=REENTRANT", "=False"),
        "exact",
        [],
    ),
    "another_gradient_in_rank_1": (
        BY_RANK
        + """
def loss(net, batch):
    return (1 + RANK) * F.cross_entropy(net(batch[0]), batch[1], reduction="sum"), len(batch[1])
""",
        "not_shown",
        [
            "2 workers compute another gradient than one process for 0.weight, 0.bias, 2.weight and 1 more, although "
            "the shares of a batch add up to it: look for what the network or loss() does by rank"
        ],
    ),
}
REFUSED = {
    "other_weights": (
        BY_RANK
        + """
def model():
    net = nn.Linear(8, 3)
    nn.init.constant_(net.bias, RANK)
    return net
""",
        "model() builds another network in rank 1 than in rank 0 (bias); it may depend on its arguments and on torch's "
        "seed alone, and not on the rank, a clock or the machine",
    ),
    "another_width": (
        BY_RANK + "def model(): return nn.Sequential(nn.Linear(8, 16 + RANK), nn.Linear(16 + RANK, 3))",
        "model() builds another network in rank 1 than in rank 0 (0.weight, 0.bias, 1.weight and 1 more)",
    ),
    "another_order": (
        BY_RANK
        + """
def model():
    net = nn.Sequential()
    for name in ("ab", "ba")[RANK]: net.add_module(name, nn.Linear(8, 8))
    return net
def loss(net, batch): return net(batch[0]).square().sum(), len(batch[1])
""",
        "model() builds another network in rank 1 than in rank 0 (b.weight, b.bias, a.weight and 1 more)",
    ),
    "other_samples": (
        BY_RANK
        + """
def data():
    draw = torch.Generator().manual_seed(RANK)
    train = torch.randn(96, 8, generator=draw), torch.randint(3, (96,), generator=draw)
    return train, train
""",
        "data() returns other samples in rank 1 than in rank 0; they may not depend on rank, time or chance",
    ),
    "more_samples": (
        BY_RANK + "def data(): return ((torch.randn(96 + RANK, 8), torch.zeros(96 + RANK).long()),) * 2",
        "data() returns other samples in rank 1 than in rank 0; they may not depend on rank, time or chance "
        "(97 and 96)",
    ),
    "no_model_in_rank_1": (
        BY_RANK
        + """
def model():
    if RANK: raise ValueError("not here")
    return nn.Linear(8, 3)
""",
        "in rank 1 alone: model() of the task no_model_in_rank_1.py failed: line 20: ValueError: not here",
    ),
    "no_loss_in_rank_1": (
        BY_RANK
        + """
def loss(net, batch):
    if RANK: batch = batch[0].double(), batch[1]
    return F.cross_entropy(net(batch[0]), batch[1])
""",
        "in rank 1 alone: loss() of the task no_loss_in_rank_1.py failed in a batch of 2 samples, line 21: "
        "RuntimeError: mat1 and mat2 must have the same dtype",
    ),
    "no_network_at_all": (
        "def model(): raise ValueError('nowhere')",
        "model() of the task no_network_at_all.py failed: line 15: ValueError: nowhere",
    ),
    "used_by_rank_0": (
        BY_RANK
        + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.many = nn.Linear(8, 3), nn.Linear(8, 3)
    def forward(self, x): return self.one(x) + (0 if RANK else self.many(x))
def model(): return Net()
""",
        "which parameters get a gradient differs from rank to rank (many.bias, many.weight): DDP would stop, or wait "
        "without an end; let every batch use them, as by adding 0 times their sum to the loss",
    ),
    "reentrant_checkpointing_twice": (
        CHECKPOINT.replace("TIMES", "2").replace("=REENTRANT", "=True"),
        "again.bias gets its gradient twice in one step, as under reentrant checkpointing, and DDP refuses that; "
        "pass use_reentrant=False to torch.utils.checkpoint",
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Told]]:
    """What each of two ranks is told about all tasks, which they check one after the other."""
    folder = tmp_path_factory.mktemp("together")
    tasks = {name: text for name, (text, *_) in {**SOUND, **REFUSED}.items()}
    for name, text in tasks.items():
        (folder / f"{name}.py").write_text(PLAIN + text)
    paths = [folder / f"{name}.py" for name in tasks]
    ranks = warm.start_ranks(RANKS, "-m", "tests.train.check_ranks", *paths, folder=folder, told=folder / "notes")
    ended = [rank.wait() for rank in ranks]
    assert [rank.returncode for rank in ended] == [0] * RANKS, [rank.stderr for rank in ended]
    lines = [[msgspec.json.decode(line, type=Told) for line in rank.stdout.splitlines()] for rank in ended]
    return {name: [mine[index] for mine in lines] for index, name in enumerate(tasks)}


@pytest.mark.parametrize("name", SOUND)
def test_every_rank_is_told_what_all_have_found(name: str, told: dict[str, list[Told]]) -> None:
    _, equal, said = SOUND[name]
    for each in told[name]:
        assert each.check is not None, each.error
        assert each.check.equal_gradient == equal
        assert [text[: len(start)] for text, start in zip(each.check.findings, said, strict=True)] == said


@pytest.mark.parametrize("name", REFUSED)
def test_what_workers_cannot_train_is_one_line_on_every_rank(name: str, told: dict[str, list[Told]]) -> None:
    _, said = REFUSED[name]
    for each in told[name]:
        assert each.error.startswith(said)
        assert "\n" not in each.error
