"""Two thousand files that are damaged at random, the same ones every time: each is refused in one line.

Never another exception, never a hang, never more memory than twice what a whole file needs.
"""

import copy
import gc
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from ddpbench import __version__
from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, DdpbenchError, NumericalError, UserError
from ddpbench.judge import judgement, study
from ddpbench.record import Record, read_record, write_record
from ddpbench.show import answer, report
from ddpbench.tasks import fetch, task
from ddpbench.train import checkpoint, optim
from ddpbench.train.checkpoint import Checkpoint, Manifest
from tests import records

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("one_thread")]
SECONDS_EACH = 2.0  # for what takes a few milliseconds, on a machine that may be busy


# Damage to bytes. Each returns something else than it was given, or is tried again.


def flip_bits(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 8, 100])):
        damaged[place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: place(content, draw)]


def insert(content: bytes, draw: random.Random) -> bytes:
    at = place(content, draw)
    return content[:at] + draw.randbytes(draw.choice([1, 2, 8, 500])) + content[at:]


def delete(content: bytes, draw: random.Random) -> bytes:
    at = place(content, draw)
    return content[:at] + content[at + draw.choice([1, 2, 8, 500]) :]


def swap_blocks(content: bytes, draw: random.Random) -> bytes:
    one, other = sorted(place(content, draw) for _ in range(2))
    size = min(draw.choice([1, 8, 500]), other - one, len(content) - other)
    return (
        content[:one]
        + content[other : other + size]
        + content[one + size : other]
        + content[one : one + size]
        + content[other + size :]
    )


def zero_block(content: bytes, draw: random.Random) -> bytes:
    """As a disk leaves a block that it never wrote."""
    at = place(content, draw)
    size = min(draw.choice([1, 8, 512]), len(content) - at)
    return content[:at] + bytes(size) + content[at + size :]


def double(content: bytes, draw: random.Random) -> bytes:
    at = place(content, draw)
    return content[:at] + content[max(0, at - draw.choice([1, 100, 5000])) :]


def replace_all(content: bytes, draw: random.Random) -> bytes:
    return draw.choice([b"", b"\n", b"\0" * len(content), draw.randbytes(len(content)), b"{}", b"[" * 10**5])


def place(content: bytes, draw: random.Random) -> int:
    """Anywhere; as often as not at the beginning, where what is read decides about the rest."""
    return draw.randrange(min(len(content), draw.choice([100, 1_000, len(content), len(content)])))


BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    *(flip_bits, flip_bits, truncate, insert, delete, swap_blocks, zero_block, double),
    replace_all,
]


def damaged(content: bytes, draw: random.Random) -> bytes:
    while True:
        changed = draw.choice(BYTES)(content, draw)
        if changed != content:
            return changed


# Damage to JSON that is JSON still.

# fmt: off
STRANGE: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**53, 2**53 + 1, 2**64, 10**400, -0.0, 0.5, 1e-320, 1e308, float("nan"),
    float("inf"), -float("inf"), "", "0", "a\nb", "\x1b[31mred", "<script>", "\u202e", "\ud800", "\x00", "x" * 10**5,
    "cuda", "none", [], [0], [[]], {}, {"": 0},
]
# fmt: on


def damaged_json(text: bytes, draw: random.Random) -> bytes:
    """Change one value, lose one, add one, or say one twice."""
    tree = json.loads(text)
    inner = draw.choice([each for each in nodes(tree) if each])
    key = draw.choice([*inner]) if isinstance(inner, dict) else draw.randrange(len(inner))
    how = draw.choice(["value", "value", "value", "lose", "add", "twice"])
    if how == "lose":
        del inner[key]
    elif how == "add":
        if isinstance(inner, dict):
            inner[draw.choice(["extra", "a\nb", "\x1b[2J"])] = 0
        else:
            inner.insert(key, copy.deepcopy(inner[key]))
    elif how == "twice" and isinstance(inner, dict):
        mark = "\N{SNOWMAN}"
        inner[mark] = draw.choice(STRANGE)
        return json.dumps(tree, ensure_ascii=False).replace(f'"{mark}"', json.dumps(key)).encode(errors="surrogatepass")
    else:
        inner[key] = draw.choice(STRANGE)
    return json.dumps(tree, ensure_ascii=draw.random() < 0.5).encode(errors="surrogatepass")


def nodes(tree: Any) -> Iterator[Any]:
    """Every object and list, the outermost first."""
    if isinstance(tree, dict | list):
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from nodes(inner)


# Reading it.


def refused(read: Callable[[], object], path: Path) -> DdpbenchError | None:
    """Return the error that reading ends with; None where it succeeds. Fails for any other end."""
    begin, problem = time.perf_counter(), None
    try:
        read()
    except DdpbenchError as raised:
        problem = raised
    assert time.perf_counter() - begin < SECONDS_EACH
    if problem is not None:
        said = str(problem)
        assert problem.exit_code == (3 if isinstance(problem, DataError) else 2)
        assert said.isprintable(), said
        assert str(path) in said
        assert len(said) < 1_000, said[:1_000]
    return problem


class Memory:
    """The most memory that this process takes for one thing: the kernel's own high-water mark, which sees all of it."""

    def of(self, what: Callable[[], object]) -> int:
        Path("/proc/self/clear_refs").write_text("5")  # the mark is now what is held
        before = self._bytes("VmRSS")
        what()
        return max(0, self._bytes("VmHWM") - before)

    def _bytes(self, name: str) -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024


@pytest.fixture
def memory() -> Iterator[Memory]:
    """What exists now is no garbage: to look at it would bring back what the kernel had taken from this process."""
    gc.collect()
    gc.freeze()
    yield Memory()
    gc.unfreeze()


pytestmark = pytest.mark.slow  # hundreds of files each
SLACK = 2**25  # what the interpreter takes at its own time: small beside what a length that is believed would ask for


# Checkpoints.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network and its optimizer after a step."""
    cfg = TrainConfig(model="cnn-small")
    net, optimizer = built(cfg)
    record = records.make_record(epochs=[], ranks=[], status="running", weights=None)
    manifest = Manifest(record=record, epoch=1, step=7, train_s=1.0, alive_s=2.0, ddpbench=__version__)
    tensors = checkpoint.state_of(net, optimizer)
    tensors |= {"losses": torch.ones(1, 7, dtype=torch.float64), "order": torch.arange(9)}
    return checkpoint.save(tmp_path_factory.mktemp("whole") / "run.checkpoint", manifest, tensors)


def built(cfg: TrainConfig) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    net = task.of(cfg).step(cfg).net
    optimizer = optim.build_optimizer(net, cfg)
    net(torch.ones(2, 1, 28, 28)).sum().backward()
    optimizer.step()
    return net, optimizer


def test_500_damaged_checkpoints_are_all_refused(whole: Path, tmp_path: Path, memory: Memory) -> None:
    """Not one is read: any damage changes the digest."""
    content, draw, path = whole.read_bytes(), random.Random(1), tmp_path / whole.name
    path.touch(0o600)
    tmp_path.chmod(0o700)
    path.write_bytes(content)
    checkpoint.load(path)  # what is done once is done
    clean = memory.of(lambda: checkpoint.load(path))
    for number in range(500):
        path.write_bytes(damaged(content, draw))
        found: list[DdpbenchError | None] = []
        most = memory.of(lambda found=found: found.append(refused(lambda: checkpoint.load(path), path)))  # type: ignore[misc]
        assert isinstance(found[0], DataError), number
        assert most <= 2 * clean + SLACK, number


def test_a_large_checkpoint_that_is_damaged_takes_no_more_than_twice_the_memory_of_a_whole_one(
    tmp_path: Path, memory: Memory
) -> None:
    """Large, so that what it takes stands out."""
    draw = random.Random(5)
    manifest = Manifest(record=records.make_record(), epoch=1, step=1, train_s=1, alive_s=2, ddpbench=__version__)
    tensors = {f"model.{number}": torch.ones(2**20) for number in range(8)}
    tensors |= {"losses": torch.ones(1, 1, dtype=torch.float64), "order": torch.arange(9)}
    path = checkpoint.save(tmp_path / "run.checkpoint", manifest, tensors)
    content = path.read_bytes()
    clean = memory.of(lambda: checkpoint.load(path))
    assert clean > len(content)
    for how in BYTES:
        path.write_bytes(how(content, draw))
        assert memory.of(lambda: refused(lambda: checkpoint.load(path), path)) <= 2 * clean, how


def test_200_checkpoints_that_are_damaged_but_have_the_right_digest_are_refused_or_are_whole(
    whole: Path, tmp_path: Path, memory: Memory
) -> None:
    """As a program with an error would write them: the reader itself is all there is between them and the run."""
    head, manifest, packed = whole.read_bytes().split(b"\n", 2)
    draw, path, ends = random.Random(2), tmp_path / whole.name, Counter[str]()
    path.touch(0o600)
    tmp_path.chmod(0o700)
    clean = memory.of(lambda: checkpoint.load(whole))
    size = int.from_bytes(packed[:8], "little")
    header, numbers = packed[8 : 8 + size], packed[8 + size :]
    for number in range(200):
        told, tensors = manifest, packed
        how = draw.choice(
            ["manifest", "manifest", "header", "other", "other", "header bytes", "header length", "numbers"]
        )
        if how == "manifest":
            told = damaged_json(manifest, draw)
        elif how == "header":
            changed = damaged_json(header, draw)
            tensors = len(changed).to_bytes(8, "little") + changed + numbers
        elif how == "other":
            changed = other_tensors(header, draw)
            tensors = len(changed).to_bytes(8, "little") + changed + numbers
        elif how == "header bytes":
            changed = damaged(header, draw)
            tensors = len(changed).to_bytes(8, "little") + changed + numbers
        elif how == "header length":
            length = draw.choice([0, 1, size - 1, size + 1, 2**16, 2**32, 2**40, 2**63, 2**64 - 1])
            tensors = length.to_bytes(8, "little") + packed[8:]
        else:
            tensors = packed[: 8 + size] + damaged(numbers, draw)
        body = told.replace(b"\n", b" ") + b"\n" + tensors
        path.write_bytes(b"%b %b\n%b" % (checkpoint.FORMAT, hashlib.sha256(body).hexdigest().encode(), body))
        found: list[DdpbenchError | None] = []
        most = memory.of(lambda found=found: found.append(refused(lambda: checkpoint.load(path), path)))  # type: ignore[misc]
        assert found[0] is None or isinstance(found[0], DataError), (number, how)
        assert most <= 2 * clean + SLACK, (number, how)
        if found[0] is None:
            ends["restored" if is_restored(checkpoint.load(path)) else "not restored"] += 1
        else:
            ends["refused"] += 1
    assert ends["refused"] > 130
    assert head.startswith(checkpoint.FORMAT)


def other_tensors(header: bytes, draw: random.Random) -> bytes:
    """Describe the same numbers as other tensors: nothing is wrong with the file, but with what is in it."""
    told = json.loads(header)
    name = draw.choice([*(name for name in told if name != "__metadata__"), *["losses"] * 4])
    how = draw.choice(["name", "last name", "type", "shape", "dimension"])
    if how == "name":
        told["model.9.weight" if name.startswith("model") else f"strange.{name}"] = told.pop(name)
    elif how == "last name":
        told[f"{name[:-1]}q"] = told.pop(name)
    elif how == "type":
        equal = {"F32": ["I32", "U32"], "F64": ["I64", "C64"]}[told[name]["dtype"]]  # in size, and one that is none
        told[name]["dtype"] = draw.choice([*equal, "x" * 10**5])
    elif how == "shape":
        told[name]["shape"] = [*reversed(told[name]["shape"])]
    else:
        told[name]["shape"] = [1, *told[name]["shape"]]
    return json.dumps(told).encode()


def is_restored(found: Checkpoint) -> bool:
    """Whether it fits a network, as a run would put it there that went on from it; then that can take a step."""
    net, optimizer = built(TrainConfig(model="cnn-small"))
    try:
        checkpoint.restore(found, net, optimizer, None, 0)
    except DataError:
        return False
    with suppress(NumericalError):  # of a bit that made a weight enormous
        net(torch.ones(2, 1, 28, 28)).sum().backward()
        optimizer.step()
    return True


# Records.


def test_700_damaged_records_are_refused_or_are_whole_records(tmp_path: Path, memory: Memory) -> None:
    """A record has no digest, as people may write one: a digit that has become another is not seen, and is no harm."""
    path, draw = tmp_path / "run.json", random.Random(3)
    write_record(path, records.ddp(late_s=[0.1, 0.2]))
    content = path.read_bytes()
    records.put(tmp_path / "good", records.make_record(), records.ddp(seed=1), records.make_record(seed=1))
    read_record(path)
    clean = memory.of(lambda: read_record(path))
    read = 0
    for number in range(700):
        path.write_bytes(damaged_json(content, draw) if number % 2 else damaged(content, draw))
        most = memory.of(lambda: refused(lambda: read_record(path), path))
        assert most <= 2 * clean + SLACK, number
        if refused(lambda: read_record(path), path) is None:
            read += 1
            assert is_as_good_as_any(read_record(path), tmp_path), number
    assert read < 90


def is_as_good_as_any(record: Record, folder: Path) -> bool:
    """Whether it can be written, is then read as the same, and is judged beside others or refused as incomparable."""
    write_record(folder / "again.json", record)
    assert read_record(folder / "again.json") == record
    assert "nan" not in str(msgspec.to_builtins(record)).lower()
    try:
        judged = judgement.judge(study.load([folder / "again.json", *folder.glob("good/*.json")]))
    except UserError as problem:  # an unfair comparison
        return str(problem).isprintable()
    return bool(report.format_all([judged], [answer.write(judged)]))


# Data.


def test_600_damaged_data_files_are_all_refused(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real labels of no data set, but small files in the same format: a digest does not care."""
    draw = random.Random(4)
    contents = {name: idx(name, draw) for name in fetch.FILES["mnist"]}
    digests = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()}
    monkeypatch.setitem(fetch.FILES, "mnist", digests)
    monkeypatch.setitem(fetch.SOURCES, "mnist", [])
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    assert fetch.ensure("mnist", tmp_path) == contents
    clean = memory.of(lambda: fetch.ensure("mnist", tmp_path))
    for number in range(600):
        name = draw.choice([*contents])
        (folder / name).write_bytes(damaged(contents[name], draw))
        found: list[DdpbenchError | None] = []
        most = memory.of(
            lambda found=found, name=name: found.append(  # type: ignore[misc]
                refused(lambda: fetch.ensure("mnist", tmp_path), folder / name)
            )
        )
        assert isinstance(found[0], DataError), number
        assert most <= 2 * clean + SLACK, number
        (folder / name).write_bytes(contents[name])
    assert fetch.ensure("mnist", tmp_path) == contents


def idx(name: str, draw: random.Random) -> bytes:
    """Return a file in the format of MNIST: two zeros, the type, the number of dimensions, each of them, and bytes."""
    shape = (60, 28, 28) if "images" in name else (60,)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return header + draw.randbytes(60 * 784 if "images" in name else 60)
