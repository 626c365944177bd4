"""The tasks of ours: each loads, learns, counts its whole test set, and refuses bad arguments in one line."""

import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import Module
from torchvision.datasets import CIFAR10

from ddpbench import taskfile
from ddpbench.config import TrainConfig
from ddpbench.errors import UserError
from ddpbench.tasks import task
from ddpbench.tasks.samples import tensors_of
from ddpbench.tasks.task import Task
from ddpbench.tasks.tested import Tested as Counted  # pytest takes a name that begins with Test for tests
from ddpbench.tasks.tested import add_up
from tests.conftest import PROJECT

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {  # arguments that make a task small, and how much its test set then counts
    "language": (("train_bytes=20000", "test_bytes=5000", "context=32", "width=32", "layers=1"), 4_992),
    "tabular": (("rows=500", "width=16"), 100),
    "cifar10": (("samples=20",), 10),
    "imagefolder": (("size=32",), 8),
}
RATES = {"language": 0.5, "tabular": 0.05, "cifar10": 0.01, "imagefolder": 0.01}
BATCH = 10


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 40 pictures of two classes, light and dark, of unlike sizes: 32 to train on and 8 to test with."""
    folder = tmp_path_factory.mktemp("pictures")
    for part, count in (("train", 16), ("val", 4)):
        for index, name in enumerate(("dark", "light")):
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                shade = 60 + 110 * index + number
                Image.new("RGB", (40 + number, 50), (shade, shade, 2 * number)).save(place / f"{number}.png")
    return folder


@pytest.fixture
def cfg(request: pytest.FixtureRequest, pictures: Path) -> TrainConfig:
    """Return the configuration of a small task, by the name that the test is given."""
    name = request.param
    words, _ = SMALL[name]
    words = (*words, f"path={pictures}") if name == "imagefolder" else words
    dataset = "synthetic" if name == "cifar10" else None
    return TrainConfig(task=name, set=words, dataset=dataset, global_batch=BATCH, device="cpu")


every_task = pytest.mark.parametrize("cfg", SMALL, indirect=True)


def counted(found: Task, cfg: TrainConfig) -> Counted:
    """Return what an untrained network counts over the whole test set, in batches of unlike sizes."""
    test, step = found.data(cfg).test, found.step(cfg)
    step.eval()
    with torch.no_grad():
        return add_up([found.measure(step.net, test.take(some), cfg) for some in torch.arange(len(test)).split(7)])


@every_task
def test_a_few_steps_lower_the_loss(cfg: TrainConfig) -> None:
    found = task.of(cfg)
    step, train = found.step(cfg), found.data(cfg).train
    optimizer = torch.optim.SGD(step.parameters(), lr=RATES[cfg.task])
    batch, losses = train.take(torch.arange(BATCH)), list[float]()
    for _ in range(4):
        total, count = step(batch)
        losses.append(total.item() / float(count))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()

    assert all(map(math.isfinite, losses))
    assert losses[-1] < 0.97 * losses[0]


@every_task
def test_the_whole_test_set_is_counted_once(cfg: TrainConfig) -> None:
    found, (_, count) = task.of(cfg), SMALL[cfg.task]
    whole = counted(found, cfg)

    assert sum(whole.counts) == count
    assert len(whole.sums) == len(whole.counts) == max(1, len(found.metric(whole, cfg).parts))
    assert min(whole.counts) > 0


@every_task
def test_the_seed_alone_decides_the_weights_and_no_seed_the_data(cfg: TrainConfig) -> None:
    found, other = task.of(cfg), TrainConfig(**{**vars_of(cfg), "seed": 1})
    one, two = (found.step(cfg).state_dict() for _ in range(2))
    unlike = found.step(other).state_dict()

    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], unlike[name]) for name in one)
    assert equal(found.data(cfg).train.tensors, found.data(other).train.tensors)


def vars_of(cfg: TrainConfig) -> dict[str, object]:
    return {name: getattr(cfg, name) for name in cfg.__struct_fields__}


def equal(one: object, other: object) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors_of(one), tensors_of(other), strict=True))


@every_task
def test_it_computes_in_double_precision(cfg: TrainConfig) -> None:
    cfg = TrainConfig(**{**vars_of(cfg), "precision": "fp64"})
    found = task.of(cfg)

    total, _ = found.step(cfg)(found.data(cfg).train.take(torch.arange(2)))

    assert total.dtype == torch.float64


@pytest.mark.parametrize(
    ("cfg", "name", "value", "lower"),
    [
        ("language", "perplexity", 256, True),  # an untrained network finds every byte about as likely
        ("tabular", "error", 1, True),  # in standard deviations of the target
        ("cifar10", "accuracy", 0.1, False),
        ("imagefolder", "accuracy", 0.5, False),
    ],
    indirect=["cfg"],
)
def test_the_figure_is_what_its_name_says(cfg: TrainConfig, name: str, value: float, lower: bool) -> None:
    found = task.of(cfg)
    whole = counted(found, cfg)
    metric = found.metric(whole, cfg)

    assert (metric.name, metric.unit, metric.lower_is_better) == (name, "" if lower else "%", lower)
    assert metric.margin is not None
    assert found.score(whole) == pytest.approx(value, rel=0.3 if lower else 1)


def test_equal_predictions_of_every_byte_have_perplexity_256() -> None:
    found = task.of(TrainConfig(task="language"))

    assert found.score(Counted("perplexity", [5 * math.log(256)], [5.0])) == pytest.approx(256)


def test_the_next_byte_is_predicted_from_those_before_it() -> None:
    cfg = TrainConfig(task="language", set=SMALL["language"][0], global_batch=BATCH)
    found = task.of(cfg)
    net, text = found.step(cfg).eval().net, found.data(cfg).train.tensors[:1].long()
    changed = text.clone()
    changed[0, 20] = (text[0, 20] + 1) % 256
    with torch.no_grad():
        before, after = net(text[:, :-1]), net(changed[:, :-1])

    assert torch.allclose(before[0, :20], after[0, :20], atol=1e-6)
    assert not torch.allclose(before[0, 20], after[0, 20], atol=1e-6)
    assert net.scores.weight is net.embed.weight
    assert torch.equal(found.data(cfg).train.tensors[1:, 0], found.data(cfg).train.tensors[:-1, -1])


def test_a_table_of_the_users_is_standardised_by_its_training_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("size,same,price\n" + "".join(f"{n},7,{1000 * n}\n" for n in range(50)))
    cfg = TrainConfig(task="tabular", set=(f"path={path}",), global_batch=8)
    data = task.of(cfg).data(cfg)
    features, targets = data.train.tensors

    assert (len(data.train), len(data.test), features.shape[1]) == (40, 10, 2)
    assert targets.mean().item() == pytest.approx(0, abs=1e-5)
    assert targets.std().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(features[:, 1], torch.zeros(40))
    assert torch.allclose(features[:, 0], targets, atol=1e-5)  # both grow evenly with n


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n3,four\n", "line 3: expected 2 numbers, got '3,four'"),
        ("1,2\n3,nan\n", "line 2: expected 2 numbers, got '3,nan'"),
        ("1,2\n3,4,5\n", "line 2: expected 2 numbers, got '3,4,5'"),
        ("1,2\n3,4\n", "has 2 rows of 2 columns; a table has at least 10 rows"),
        ("1\n" * 20, "has 20 rows of 1 columns"),
        ("", "has 0 rows of 0 columns"),
        (b"\xff\xfe\x00", "cannot be read as a table"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(UserError, match=re.escape(said)) as problem:
        refused("tabular", f"path={path}")
    assert str(path) in one_line_of(problem)


def refused(text: str, *words: str, **flags: str) -> None:
    """Build the network and load the data of a task; one of both is to fail."""
    cfg = TrainConfig(task=text, set=words, global_batch=4, **flags)
    task.of(cfg).step(cfg)
    task.of(cfg).data(cfg)


def one_line_of(problem: pytest.ExceptionInfo[UserError]) -> str:
    text = str(problem.value)
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    ("text", "words", "flags", "said"),
    [
        ("language", ("width=65",), {}, "--set width=65 does not divide over 2 heads; use 64"),
        ("language", ("test_bytes=10",), {}, "--set test_bytes=10: it must be above the context, 64, and at most"),
        ("language", ("train_bytes=999999999",), {}, "--set train_bytes=999999999: it must be above"),
        ("language", ("layers=two",), {}, "model() of the task language failed: line"),
        ("language", ("with=3",), {}, "did you mean width?"),
        ("language:x", (), {}, "the task language reads no files of yours; leave :x out"),
        ("tabular", ("rows=3",), {}, "--set rows=3: it must be at least 10"),
        ("tabular", ("path=/no/where.csv",), {}, "/no/where.csv cannot be read as a table: No such file or directory"),
        ("cifar10", (), {"model": "resnet19"}, "torchvision has no such classification network; it has resnet18"),
        ("cifar10", (), {"model": "googlenet"}, "torchvision has no such classification network"),
        ("cifar10", (), {"dataset": "cifar100"}, "--dataset must be one of cifar10, synthetic; got 'cifar100'"),
        ("imagefolder", (), {}, "it needs a folder of pictures, as in --task imagefolder:PATH"),
        ("imagefolder", ("path=/no/where",), {}, "there is no folder /no/where/train"),
        ("imagefolder:a", ("path=b",), {}, "--set path: --task imagefolder:a gives it already"),
        ("langauge", (), {}, "did you mean language?"),
    ],
)
def test_bad_arguments_get_one_line(text: str, words: tuple[str, ...], flags: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as problem:
        refused(text, *words, **flags)
    one_line_of(problem)


def test_folders_of_pictures_must_hold_the_same_classes(tmp_path: Path) -> None:
    for place in ("train/cat", "train/dog", "test/cat", "test/cow"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / place / "1.png")

    with pytest.raises(UserError, match="must hold the same folders; only one of them has cow, dog"):
        refused("imagefolder", f"path={tmp_path}")


@pytest.mark.parametrize(
    ("folders", "said"),
    [(["train"], "train holds no folders"), (["train/cat"], "there is no folder .*/val or .*/test")],
)
def test_folders_that_are_missing_are_named(tmp_path: Path, folders: list[str], said: str) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)

    with pytest.raises(UserError, match=said) as problem:
        refused("imagefolder", f"path={tmp_path}")
    one_line_of(problem)


def test_pictures_have_the_names_of_their_folders_and_the_size_asked_for(pictures: Path) -> None:
    cfg = TrainConfig(task="imagefolder", set=(f"path={pictures}", "size=24"), global_batch=4)
    found = task.of(cfg)
    train = found.data(cfg).train
    images, labels = train.tensors

    assert found.metric(Counted("accuracy", [1.0, 2.0], [4.0, 4.0]), cfg).parts == ["dark", "light"]
    assert (images.dtype, images.shape) == (torch.uint8, (32, 3, 24, 24))
    assert images[labels == 1].float().mean() > images[labels == 0].float().mean() + 50


def test_a_resnet_keeps_more_of_small_pictures() -> None:
    cfg = TrainConfig(task="cifar10")
    net, seen = task.of(cfg).step(cfg).eval().net, list[Tensor]()
    net[1].layer4.register_forward_hook(lambda *words: seen.append(words[-1]))
    with torch.no_grad():
        scores = net(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))

    assert seen[0].shape[2:] == (4, 4)  # torchvision's own would leave 1 x 1
    assert scores.shape == (1, 10)


@pytest.mark.parametrize("name", ["imagefolder", "tabular"])
def test_what_follows_the_name_of_a_task_is_its_path(name: str) -> None:
    short, plain = taskfile.read(f"{name}:some/where:else"), taskfile.read(name)

    assert (short.path, short.name, short.given) == (plain.path, plain.name, {"path": "some/where:else"})
    assert plain.given == {}


def test_a_path_after_the_name_is_an_argument_like_one_of_set(pictures: Path) -> None:
    short = TrainConfig(task=f"imagefolder:{pictures}", set=("size=24",), global_batch=4)
    plain = TrainConfig(task="imagefolder", set=("size=24", f"path={pictures}"), global_batch=4)
    one, other = task.of(short), task.of(plain)
    data, same = one.data(short), other.data(plain)

    assert equal(data.train.tensors, same.train.tensors)
    assert one.settings(short, "cpu", Module(), data) == other.settings(plain, "cpu", Module(), same)


@pytest.fixture
def in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tensor:
    """Write CIFAR-10 of 20 pictures, as its authors did. Returns the pictures."""
    pixels = torch.randint(256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    for name, some in (("train", pixels[:10]), ("test", pixels[10:])):
        entry = {"data": some.reshape(10, -1).numpy(), "labels": list(range(10))}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    monkeypatch.setattr(CIFAR10, "train_list", [["train", None]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test", None]])
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "meta", "key": "label_names", "md5": None})
    return pixels


def test_cifar10_is_read_as_it_was_written(in_files: Tensor, tmp_path: Path) -> None:
    cfg = TrainConfig(task="cifar10", data_dir=tmp_path, global_batch=4, set=("samples=6",))
    data = task.of(cfg).data(cfg)

    assert equal(data.train.tensors, (in_files[:6], torch.arange(6)))
    assert equal(data.test.tensors, (in_files[10:], torch.arange(10)))


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere.tar.gz").as_uri())

    with pytest.raises(UserError, match=r"CIFAR-10 could not be downloaded .*use --dataset synthetic") as problem:
        refused("cifar10", data_dir=tmp_path / "data")
    assert f"put cifar-10-python.tar.gz into {tmp_path / 'data'}" in one_line_of(problem)


def test_the_task_of_the_documentation_runs(tmp_path: Path, pictures: Path) -> None:
    page = (PROJECT / "docs/own-task.md").read_text()
    source = re.findall(r"```python\n(.*?)```", page, flags=re.S)[0]
    path = tmp_path / "my_task.py"
    path.write_text(source)
    cfg = TrainConfig(task=str(path), set=(f"folder={pictures}", "width=8"), global_batch=8)
    found = task.of(cfg)
    whole = counted(found, cfg)

    assert len(source.splitlines()) <= 25
    assert (whole.name, whole.counts) == ("accuracy", [8.0])
    assert found.step(cfg).net[0].out_channels == 8


def test_the_documentation_names_every_part_of_a_task() -> None:
    page = (PROJECT / "docs/own-task.md").read_text()
    tables = {*re.findall(r"^\| `(\w+)", page, flags=re.M)}

    assert {*taskfile.FUNCTIONS, *taskfile.CONSTANTS} - tables == set()
