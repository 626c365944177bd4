"""What a network and a step are made of: each fault under DDP has its task, and the sentence that it must get."""

from pathlib import Path

import pytest

from ddpbench.errors import UserError
from tests.train.user_tasks import NORMS, WORDS, checked

pytestmark = pytest.mark.usefixtures("one_thread")  # tests run side by side

SAID = {
    "tied": (
        """
def model():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    net[1].weight = net[0].weight
    return net
""",
        "1.weight and 0.weight are one tensor: it is counted once",
    ),
    "frozen": (
        """
def model():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    net[0].requires_grad_(False)
    return net
""",
        "72 numbers are frozen (0.weight, 0.bias): they are neither trained nor combined",
    ),
    "half precision": (
        "def model(): return nn.Linear(8, 3).bfloat16()",
        "parameters in bfloat16 (weight, bias) are trained in float32; --precision bf16 rounds in each step",
    ),
    "large buffers": (
        """
def model():
    net = nn.Linear(8, 3)
    net.register_buffer("mask", torch.zeros(1024, 1024))
    return net
""",
        "4.0 MiB of buffers (mask) are sent to every worker at each step; tensors that never change need not be",
    ),
    "many samples left out": (
        "def data(): return (torch.randn(92, 8), torch.zeros(92).long()), (torch.randn(9, 8), torch.zeros(9).long())",
        "28 of 92 samples are left out of every epoch, in one process too: they do not fill a batch of 32",
    ),
    "compiled": (
        "def model(): return torch.compile(nn.Linear(8, 3))",
        "the network is compiled by torch.compile: this check ran it as plain Python",
    ),
    "compiled in place": (
        """
def model():
    net = nn.Linear(8, 3)
    net.compile()
    return net
""",
        "the network is compiled by torch.compile: this check ran it as plain Python",
    ),
}
REFUSED = {
    "weights by call": (
        """
def model():
    net = nn.Linear(8, 3)
    nn.init.constant_(net.bias, random.random())
    return net
""",
        "model() is not a function of the seed: bias differs in a second call",
    ),
    "one network for all": (
        """
net = nn.Linear(8, 3)
def model(): return net
""",
        "model() returns the same weight, bias each time; make a new network in every call",
    ),
    "unused": (
        """
def model():
    net = nn.Linear(8, 3)
    net.register_parameter("spare", nn.Parameter(torch.zeros(3)))
    return net
""",
        "the loss gives no gradient to spare: DDP would stop at the second step; freeze such parameters in model() "
        "with requires_grad_(False), or use them",
    ),
    "nothing to train": (
        "def model(): return nn.Linear(8, 3).requires_grad_(False)",
        "model() returned a network in which nothing is trained",
    ),
    "lazy": (
        "def model(): return nn.LazyLinear(3)",
        "model() leaves weight, bias without a shape until the first batch; call the network once in model()",
    ),
    "complex": (
        """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)
        self.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    def forward(self, x): return (super().forward(x) * self.phase).real
def model(): return Net()
""",
        "model() makes complex parameters (phase), and DDP loses the imaginary part of their gradients",
    ),
    "a complex buffer": (
        """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)
        self.register_buffer("phase", torch.ones(3, dtype=torch.complex64))
    def forward(self, x): return (super().forward(x) * self.phase).real
def model(): return Net()
""",
        "model() makes complex buffers (phase), which lose their imaginary part",
    ),
    "sparse": (
        WORDS
        + """
def model():
    net = Words()
    net.words = nn.Embedding(9, 8, sparse=True)
    return net
def loss(net, batch): return net(batch).square().sum(), len(batch)
""",
        "words.weight has sparse gradients, which shm and nccl cannot combine; use sparse=False",
    ),
    "no network": ("def model(): return 3", "model() of the task my_task.py returned a int, and no nn.Module"),
    "made in the first step": (
        """
class Net(nn.Linear):
    def forward(self, x):
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(3))
        return super().forward(x) * self.scale
def model(): return Net(8, 3)
""",
        "scale appeared during the first step, and DDP would not know; make it so in model()",
    ),
    "frozen in the first step": (
        """
class Net(nn.Linear):
    def forward(self, x):
        self.bias.requires_grad_(False)
        return super().forward(x)
def model(): return Net(8, 3)
""",
        "bias changed during the first step, and DDP would not know; make it so in model()",
    ),
    "a buffer made in the first step": (
        """
class Net(nn.Linear):
    def forward(self, x): return self.register_buffer("mask", torch.ones(3)) or super().forward(x) * self.mask
def model(): return Net(8, 3)
""",
        "mask appeared during the first step, and DDP would not know; make it so in model()",
    ),
    "a loss that computes gradients itself": (
        """
def loss(net, batch):
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    return F.cross_entropy(net(-batch[0]), batch[1])
""",
        "loss() calls backward() itself; return the loss, and leave gradients and steps to ddpbench; a task "
        "with two optimizers, such as a GAN, cannot be trained by it",
    ),
    "reentrant checkpointing of what needs no gradient": (
        """
from torch.utils.checkpoint import checkpoint
class Net(nn.Sequential):
    def forward(self, x): return self[1](checkpoint(self[0], x, use_reentrant=True))
def model(): return Net(nn.Linear(8, 16), nn.Linear(16, 3))
""",
        "0.weight, 0.bias gets no gradient, because reentrant checkpointing needs an input that has one; pass "
        "use_reentrant=False to torch.utils.checkpoint",
    ),
    "a loss with weights of its own": (
        """
scale = nn.Parameter(torch.ones(3))
def loss(net, batch): return F.cross_entropy(net(batch[0]) * scale, batch[1], reduction="sum"), len(batch[1])
""",
        "loss() trains a parameter of shape [3] that is not in the network: no optimizer would update it",
    ),
    "an optimizer in the backward pass": (
        """
def model():
    net = nn.Linear(8, 3)
    net.weight.register_post_accumulate_grad_hook(lambda value: None)
    return net
""",
        "model() adds hooks that run in the backward pass (weight), before the gradients of workers are combined",
    ),
    "batch norm of all workers": (
        NORMS.replace("BatchNorm1d", "SyncBatchNorm"),
        "model() uses SyncBatchNorm (1), which DDP refuses without a GPU; use BatchNorm",
    ),
    "no tensor": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]).item(), 1",
        "loss() returned a float as its sum; return a tensor, without .item()",
    ),
    "not added up": (
        'def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1], reduction="none"), len(batch[1])',
        "loss() returned a tensor of shape [4] as its sum; add it up with .sum()",
    ),
    "three values": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]), 1, 2",
        "loss() must return a sum and its number, as in (sum, count), or a mean",
    ),
    "no gradient": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]).detach(), batch[1]), 1",
        "loss() returned a sum without a gradient; do not detach it",
    ),
    "not finite": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]) / 0, 1",
        "loss() returned inf on the first batch; a sum must be finite",
    ),
    "a gradient that is not finite": (
        "def loss(net, batch): return (net(batch[0]) * 0).sqrt().sum(), len(batch[1])",
        "the gradient of 0.weight, 0.bias, 2.weight and 1 more is not finite on the first batch",
    ),
    "counts nothing": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]), 0",
        "loss() returned the number 0; at least 1 loss of a batch must count",
    ),
    "a number that is none": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]), 'many'",
        "loss() must return how many losses it summed: (sum, count), where count is one number",
    ),
    "a number with a dimension": (
        "def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1]), torch.ones(1)",
        "loss() must return how many losses it summed: (sum, count), where count is one number, or a tensor",
    ),
    "a number that changes and is no tensor": (
        WORDS
        + """
def loss(net, batch):
    x, y = batch[:, :-1], batch[:, 1:]
    return F.cross_entropy(net(x).flatten(0, 1), y.flatten(), reduction="sum", ignore_index=0), int((y != 0).sum())
""",
        "must be a tensor, because workers add theirs up",
    ),
    "shapes": (
        "def model(): return nn.Linear(9, 3)",
        "loss() of the task my_task.py failed in a batch of 4 samples, line 14: RuntimeError: mat1 and mat2 shapes",
    ),
    "used by some batches": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.many = nn.Linear(8, 3), nn.Linear(8, 3)
    def forward(self, x): return self.one(x) + (self.many(x) if (x[:, 0] > 2.2).any() else 0)
def data():
    x = torch.zeros(96, 8)
    x[SEEN, 0] = 3
    return (x, torch.zeros(96).long()), (x, torch.zeros(96).long())
SEEN = torch.randperm(96, generator=torch.Generator().manual_seed(0))[0]  # in the share of the first worker
def model(): return Net()
""",
        "which parameters get a gradient changes from batch to batch (many.bias, many.weight): DDP would stop",
    ),
    "a share of nothing": (
        """
def data():
    y = torch.full((96,), -100)
    y[torch.randperm(96, generator=torch.Generator().manual_seed(0))[0]] = 1
    return (torch.randn(96, 8), y), (torch.randn(96, 8), y)
def loss(net, batch): return F.cross_entropy(net(batch[0]), batch[1])
""",
        "the loss of one worker's share of a batch is not finite, and that of the whole batch is",
    ),
}


@pytest.mark.parametrize("what", SAID)
def test_what_a_network_is_made_of_is_said(what: str, tmp_path: Path) -> None:
    text, said = SAID[what]
    found = checked(tmp_path, text)

    assert found.equal_gradient == "exact"
    assert [each[: len(said)] for each in found.findings] == [said]


@pytest.mark.parametrize("what", REFUSED)
def test_what_workers_cannot_train_is_one_line(what: str, tmp_path: Path) -> None:
    text, said = REFUSED[what]
    with pytest.raises(UserError) as caught:
        checked(tmp_path, text)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
