"""Checkpoints: what is restored is what was saved, to the bit; what is damaged or not ours is never used."""

import errno
import hashlib
import itertools
import math
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from ddpbench import __version__, files, notes
from ddpbench.config import TrainConfig
from ddpbench.errors import DataError, TrainingError, UserError
from ddpbench.record import Record, read_record, write_record
from ddpbench.study import attempts
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples
from ddpbench.tasks.task import Data
from ddpbench.train import checkpoint, engine, optim, resume, world
from ddpbench.train.batches import Batches
from ddpbench.train.checkpoint import Manifest
from ddpbench.train.recorder import Recorder
from ddpbench.train.saver import Saver
from ddpbench.train.state import TrainState
from tests.conftest import PROJECT
from tests.records import make_record

STEPS, EPOCHS = 4, 3
SHORT = TrainConfig(
    dataset="synthetic",
    model="mlp",
    epochs=EPOCHS,
    global_batch=64,
    device="cpu",
    threads=1,
    checkpoint_every="1",
)
# What an optimizer keeps, the layout of convolutions, the type of weights, and a schedule or none.
RECIPES: dict[str, dict[str, Any]] = {
    "mlp, adamw": {},
    "cnn, adamw, channels last": {"model": "cnn"},
    "cnn, sgd, fp64": {"model": "cnn", "optimizer": "sgd", "precision": "fp64"},
    "cnn-small, sgd, constant": {"model": "cnn-small", "optimizer": "sgd", "schedule": "constant"},
}
# Before there is a checkpoint; at the first; the last step of an epoch; the first of the next; the last of all.
KILLED_AFTER = (1, 3, STEPS, STEPS + 1, 2 * STEPS + 3, EPOCHS * STEPS)
pytestmark = pytest.mark.usefixtures("one_thread")
slow = pytest.mark.slow


class Killed(BaseException):
    """In place of SIGKILL: nothing of ours may handle it."""


@dataclass(frozen=True)
class Learnt:
    """All that a run learnt: its weights and optimizer at the end, its losses and answers by epoch."""

    tensors: dict[str, bytes]
    epochs: list[tuple[float, list[float], float, list[float]]]


@lru_cache
def samples(precision: str) -> Data:
    """Few, so that a run takes a fraction of a second."""
    cfg = replace(SHORT, precision=precision)  # type: ignore[arg-type]
    whole = task.of(cfg).data(cfg)
    num_train, num_test = STEPS * SHORT.global_batch, 640
    return Data(Samples(whole.train.take(torch.arange(num_train))), Samples(whole.test.take(torch.arange(num_test))))


def fit(cfg: TrainConfig, *, kill_after: int | None = None, kill_within: int | None = None) -> Learnt:
    """Train in this process, as baseline_train.py does; until it is killed after a step of the run, or of the attempt.

    A killed run says nothing in its record.
    """
    saved: list[dict[str, bytes]] = []
    completed: list[Recorder] = []
    save, step, complete, within = checkpoint.save, Saver.step_taken, Recorder.complete, itertools.count(1)

    def watched_save(folder: Path, manifest: Manifest, tensors: dict[str, torch.Tensor]) -> Path:
        saved.append(as_bytes(tensors))
        return save(folder, manifest, tensors)

    def deadly_step(self: Saver, state: TrainState) -> None:
        step(self, state)
        if state.step == kill_after or next(within) == kill_within:
            raise Killed

    def watched_complete(self: Recorder, state: TrainState) -> None:
        complete(self, state)
        completed.append(self)

    here, step_of_net = world.solo(cfg), task.of(cfg).step(cfg)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", watched_save)
        patch.setattr(Recorder, "complete", watched_complete)
        if kill_after or kill_within:
            patch.setattr(Saver, "step_taken", deadly_step)
            patch.setattr(Recorder, "__exit__", lambda *_: None)
        with here:
            batches = Batches(task.of(cfg), samples(cfg.precision), cfg, here)
            engine.fit(step_of_net, batches, cfg, here, kind="baseline")
    path = completed[0].path
    weights = as_bytes(load_file(path.with_suffix(".safetensors")))
    assert weights == as_bytes(step_of_net.net.state_dict())
    epochs = [(e.train_loss, e.loss_curve, e.metric, e.metric_sums) for e in read_record(path).epochs]
    return Learnt((saved[-1] if saved else {}) | weights, epochs)


def as_bytes(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: value.detach().contiguous().numpy().tobytes() for name, value in tensors.items()}


def killed(cfg: TrainConfig, after: int) -> Path:
    """Leave an interrupted run behind. Returns the path of its record."""
    before = set(cfg.results.glob("*.json"))
    with pytest.raises(Killed):
        fit(cfg, kill_after=after)
    (path,) = set(cfg.results.glob("*.json")) - before
    assert read_record(path).status == "running"
    return path


def resumed(cfg: TrainConfig) -> Learnt:
    return fit(replace(cfg, resume=True))


def folder_of(record: Path) -> Path:
    return record.with_suffix(checkpoint.SUFFIX)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Learnt]:
    """What each recipe learns when nothing stops it."""

    @lru_cache
    def of(recipe: str) -> Learnt:
        return fit(replace(SHORT, **RECIPES[recipe], results=tmp_path_factory.mktemp("clean")))

    return of


@pytest.mark.parametrize(
    ("recipe", "after"),
    [
        *(("mlp, adamw", after) for after in KILLED_AFTER),
        *(pytest.param("cnn, adamw, channels last", after, marks=slow) for after in KILLED_AFTER),
        *(pytest.param("cnn, sgd, fp64", after, marks=slow) for after in (STEPS + 1, 2 * STEPS + 3)),
        *(pytest.param("cnn-small, sgd, constant", after, marks=slow) for after in (STEPS, 2 * STEPS + 3)),
    ],
)
def test_a_run_that_is_killed_and_resumed_learns_what_an_uninterrupted_one_learns_to_the_bit(
    recipe: str, after: int, clean: Callable[[str], Learnt], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = replace(SHORT, **RECIPES[recipe], results=tmp_path)
    path = killed(cfg, after)
    saved = checkpoint.generations(folder_of(path))
    learnt = resumed(cfg)

    assert learnt.epochs == clean(recipe).epochs
    # Without a step left to take there is no checkpoint either: the optimizer's end was saved by the first attempt.
    assert learnt.tensors == {name: clean(recipe).tensors[name] for name in learnt.tensors}
    assert bool(saved) == (after > 2), "a step is saved that was asked for two steps before it"
    assert f"attempt 2 goes on with {path.stem} " in capsys.readouterr().err
    assert [epoch.resumed for epoch in read_record(path).epochs].count(True) == (1 if saved else 0)
    assert not folder_of(path).exists(), "a complete run keeps none"


def test_a_run_that_is_killed_again_and_again_still_comes_to_its_end_and_to_the_same_bits(
    clean: Callable[[str], Learnt], tmp_path: Path
) -> None:
    cfg, attempts = replace(SHORT, resume=True, results=tmp_path), 1
    for _ in range(9):
        try:
            learnt = fit(cfg, kill_within=4)
            break
        except Killed:
            attempts += 1
    (path,) = tmp_path.glob("*.json")

    assert learnt.epochs == clean("mlp, adamw").epochs
    assert learnt.tensors == {name: clean("mlp, adamw").tensors[name] for name in learnt.tensors}
    assert read_record(path).attempts == attempts > 3


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_tensor_comes_back_with_its_bits_its_type_and_its_layout(recipe: str, tmp_path: Path) -> None:
    cfg = replace(SHORT, **RECIPES[recipe])
    one, other = (Trained(cfg, steps) for steps in (3, 1))
    manifest = Manifest(record=make_record(), epoch=1, step=3, train_s=1.0, alive_s=2.0, ddpbench=__version__)
    saved = checkpoint.state_of(one.net, one.optimizer)
    more = {"losses": torch.zeros(1, 3, dtype=torch.float64), "order": torch.tensor([2, 0, 1])}
    path = checkpoint.save(tmp_path / "run.checkpoint", manifest, saved | more)
    found = checkpoint.load(path)
    checkpoint.restore(found, other.net, other.optimizer, other.schedule, steps=3)

    before, after = (checkpoint.state_of(each.net, each.optimizer) for each in (one, other))
    assert found.manifest == manifest
    assert as_bytes(before) == as_bytes(after)
    assert as_bytes(found.tensors) == as_bytes(before | more)
    for name, value in before.items():
        assert (value.dtype, value.shape, value.stride()) == (
            after[name].dtype,
            after[name].shape,
            after[name].stride(),
        )
    assert one.rates() == other.rates()
    one.step(), other.step()
    assert one.rates() == other.rates()
    assert as_bytes(one.net.state_dict()) == as_bytes(other.net.state_dict())


class Trained:
    """A network, its optimizer and its schedule, after some steps."""

    def __init__(self, cfg: TrainConfig, steps: int) -> None:
        self._images, self._labels = samples(cfg.precision).train.take(torch.arange(64))
        self.net = task.of(cfg).step(cfg).net
        self.optimizer = optim.build_optimizer(self.net, cfg)
        self.schedule = optim.build_schedule(self.optimizer, cfg, 10)
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.net(self._images), self._labels).backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()

    def rates(self) -> dict[str, object]:
        """What the schedule has set: rate and momentum."""
        return {name: value for name, value in self.optimizer.param_groups[0].items() if name != "params"}


# Damage, and what becomes of the run.


def flip(content: bytes, at: float = 0.6) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit flipped": flip,
    "a bit of the manifest flipped": lambda content: flip(content, 0.001),
    "the last byte lost": lambda content: content[:-1],
    "half lost": lambda content: content[: len(content) // 2],
    "nothing in it": lambda _: b"",
    "all zeros": lambda content: bytes(len(content)),
    "a byte too many": lambda content: content + b"\0",
    "another format": lambda content: content.replace(b"checkpoint 2", b"checkpoint 1", 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_is_said_aloud_and_the_one_before_is_used(
    damage: str, clean: Callable[[str], Learnt], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = replace(SHORT, results=tmp_path)
    newest, before, *_ = checkpoint.generations(folder_of(killed(cfg, 2 * STEPS + 1)))
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    capsys.readouterr()
    learnt = resumed(cfg)
    said = capsys.readouterr().err

    assert (newest.name, before.name) == ("000003-00000001", "000003-00000000")
    assert learnt == clean("mlp, adamw")
    (line,) = [line for line in said.splitlines() if str(newest) in line]
    assert line.endswith("; using the one before")
    assert "goes on with" in said
    assert "at epoch 3, step 0" in said


def test_where_all_are_damaged_it_never_starts_anew_and_lists_them_all(tmp_path: Path) -> None:
    cfg = replace(SHORT, results=tmp_path)
    path = killed(cfg, 2 * STEPS + 3)
    all_of_them = checkpoint.generations(folder_of(path))
    for each in all_of_them:
        each.write_bytes(flip(each.read_bytes()))
    with pytest.raises(DataError, match=r"^no checkpoint is whole: ") as problem:
        resumed(cfg)

    assert problem.value.exit_code == 3
    assert is_one_line(problem.value)
    assert len(all_of_them) == 3
    assert all(str(each) in str(problem.value) for each in all_of_them)
    assert str(problem.value).endswith(f"to start anew, remove {folder_of(path)}")
    assert checkpoint.generations(folder_of(path)) == all_of_them, "they may still be of use to somebody"


@pytest.mark.parametrize("content", [b"", b'{"schema": 3, "stu', b'{"study": "\xff"}', b"[" * 10**6])
def test_a_damaged_record_is_no_obstacle_for_the_checkpoint_has_one(
    content: bytes, clean: Callable[[str], Learnt], tmp_path: Path
) -> None:
    cfg = replace(SHORT, results=tmp_path)
    path = killed(cfg, STEPS + 3)
    path.write_bytes(content)

    assert resumed(cfg) == clean("mlp, adamw")
    assert [*tmp_path.glob("*.json")] == [path]


def test_what_else_lies_in_the_folder_is_no_run_and_no_obstacle(tmp_path: Path, clean: Callable[[str], Learnt]) -> None:
    cfg = replace(SHORT, results=tmp_path)
    path = killed(cfg, STEPS + 3)
    (tmp_path / "zz.json").mkdir()
    (tmp_path / "zz2.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "zz3.json")
    (tmp_path / f"zz4{checkpoint.SUFFIX}").touch()
    (tmp_path / f"zz5{checkpoint.SUFFIX}").mkdir()
    for name in ("1-x", "0-0-0", "000009-00000009.old", ".000009-00000009.1.partial"):
        (folder_of(path) / name).write_bytes(b"no checkpoint")

    for each in tmp_path.glob("zz*"):
        assert not checkpoint.generations(each)
    found = [each.name for each in checkpoint.generations(folder_of(path))]
    assert found == ["000002-00000003", "000002-00000002", "000002-00000000"]
    assert resumed(cfg) == clean("mlp, adamw")


# Whose checkpoint it is.


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"lr": 0.5}, "lr 0.5, there 0.002"),
        ({"optimizer": "sgd", "lr": 0.002}, "optimizer sgd, there adamw"),
        ({"schedule": "constant"}, "schedule constant, there one-cycle"),
        ({"precision": "fp64"}, "precision fp64, there fp32"),
        ({"epochs": 4}, "epochs 4, there 3"),
        ({"global_batch": 128}, "global_batch 128, there 64"),
        ({"seed": 7}, "seed 7, there 0"),
        ({"label_smoothing": 0.1}, "label_smoothing 0.1, there 0.0"),
        ({"model": "cnn", "lr": 0.002}, "model cnn, there mlp"),
        ({"channels_last": False}, "channels_last False, there True"),
    ],
)
def test_a_run_of_other_settings_is_not_resumed_and_both_values_are_named(
    other: dict[str, Any], said: str, tmp_path: Path
) -> None:
    cfg = replace(SHORT, results=tmp_path)
    path = killed(cfg, STEPS + 3)
    before = contents(tmp_path)
    with pytest.raises(UserError) as problem:
        resumed(replace(cfg, **other))

    assert str(problem.value) == (
        f"{path} was started with other settings ({said}); use those to resume it, or drop --resume to start a new run"
    )
    assert problem.value.exit_code == 2
    assert contents(tmp_path) == before


def test_neither_is_one_of_another_torch_or_of_other_ranks(tmp_path: Path) -> None:
    cfg = replace(SHORT, results=tmp_path)
    path = killed(cfg, STEPS + 3)
    record = read_record(path)
    write_record(path, msgspec.structs.replace(record, environment=with_torch(record, "2.9.0")))
    with pytest.raises(UserError, match=rf"\(torch {torch.__version__.replace('+', '.')}, there 2\.9\.0\)"):
        resumed(cfg)
    write_record(path, msgspec.structs.replace(record, kind="ddp", comm="gloo", world_size=2))
    with pytest.raises(UserError, match=r"\(arm baseline, 1 thread, there ddp 2 x 1, gloo\)"):
        resumed(cfg)


def with_torch(record: Record, version: str) -> Any:
    return msgspec.structs.replace(record.environment, torch=version)


def test_a_checkpoint_of_another_run_under_this_name_is_refused(tmp_path: Path) -> None:
    """Somebody has moved folders: the record is ours, what would be restored is not."""
    ours = killed(replace(SHORT, results=tmp_path), STEPS + 3)
    theirs = killed(replace(SHORT, seed=1, results=tmp_path / "theirs"), STEPS + 3)
    for each in folder_of(ours).iterdir():
        each.unlink()
    for each in folder_of(theirs).iterdir():
        each.rename(folder_of(ours) / each.name)
    with pytest.raises(DataError) as problem:
        resumed(replace(SHORT, results=tmp_path))

    assert is_one_line(problem.value)
    assert f"{folder_of(ours)} holds another run" in str(problem.value)
    assert "seed 0, there 1" in str(problem.value)


def test_of_several_unfinished_runs_the_newest_of_these_settings_is_resumed_and_the_others_are_left(
    clean: Callable[[str], Learnt], tmp_path: Path
) -> None:
    cfg = replace(SHORT, results=tmp_path)
    older, ours = killed(cfg, 3), killed(cfg, STEPS + 3)
    foreign = killed(replace(cfg, seed=1), EPOCHS * STEPS)
    fit(cfg)  # complete, and the newest of all
    assert older.stem < ours.stem < foreign.stem
    left = contents(folder_of(foreign)) | contents(folder_of(older))

    assert resumed(cfg) == clean("mlp, adamw")
    assert contents(folder_of(foreign)) | contents(folder_of(older)) == left
    assert [read_record(path).status for path in (older, ours, foreign)] == ["running", "complete", "running"]
    assert [read_record(path).attempts for path in (older, ours, foreign)] == [1, 2, 1]


def test_a_restart_goes_on_with_a_run_of_its_own_launch_alone(tmp_path: Path) -> None:
    """Its first attempt may have died before it had a record; then an older run of these settings is not meant."""
    path = killed(replace(SHORT, results=tmp_path), STEPS + 3)
    ours = read_record(path)

    assert resume.find(tmp_path, ours, None, is_restart=True).path == path, "plain torchrun: no names are known"
    assert resume.find(tmp_path, ours, set(), is_restart=True) == resume.Unfinished()
    assert resume.find(tmp_path, ours, {path.stem}, is_restart=True).path == path
    assert resume.find(tmp_path, ours, None, is_restart=False).path == path


def test_a_run_tells_its_supervisor_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").touch()
    monkeypatch.setenv(notes.VARIABLE, f'{{"parent":1,"notes":"{tmp_path}/notes"}}')
    path = killed(replace(SHORT, results=tmp_path), STEPS + 3)

    assert attempts.runs_begun(notes.read((tmp_path / "notes").read_bytes())) == [path.stem]


def test_a_damaged_run_is_no_obstacle_for_another_but_nobody_starts_anew_beside_it(
    clean: Callable[[str], Learnt], tmp_path: Path
) -> None:
    cfg = replace(SHORT, results=tmp_path)
    damaged = killed(replace(cfg, seed=1), STEPS + 3)
    damaged.write_bytes(b"")
    for each in checkpoint.generations(folder_of(damaged)):
        each.write_bytes(flip(each.read_bytes()))
    with pytest.raises(DataError, match="no checkpoint is whole: "):
        resumed(cfg)
    killed(cfg, STEPS + 3)

    assert resumed(cfg) == clean("mlp, adamw")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_one_line(problem: BaseException) -> bool:
    return "\n" not in str(problem) and str(problem).isprintable()


# What could have been written by others, and what is no file.


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of a small network, alone in its folder."""
    return save(tmp_path / "run.checkpoint", 1, 3)


def save(folder: Path, epoch: int, step: int) -> Path:
    manifest = Manifest(record=make_record(), epoch=epoch, step=step, train_s=1.0, alive_s=2.0, ddpbench=__version__)
    return checkpoint.save(
        folder, manifest, {"model.weight": torch.arange(9.0), "losses": torch.zeros(1, step), "order": torch.arange(1)}
    )


def become_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def become(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def remake(path: Path) -> None:
        path.unlink()
        make(path)

    return remake


def null_device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: without an end


NOT_OURS: dict[str, tuple[Callable[[Path], None], str]] = {
    "symlink": (become_link, "cannot read {path}: Too many levels of symbolic links"),
    "group may write": (lambda path: path.chmod(0o620), "{path} could have been written by others"),
    "all may write": (lambda path: path.chmod(0o602), "{path} could have been written by others"),
    "group may write the folder": (lambda path: path.parent.chmod(0o770), "{folder} could have been written by others"),
    "all may write the folder": (lambda path: path.parent.chmod(0o1777), "{folder} could have been written by others"),
    "of another user": (lambda path: os.chown(path, 65534, -1), "{path} could have been written by others"),
    "a folder of another user": (
        lambda path: os.chown(path.parent, 65534, -1),
        "{folder} could have been written by others",
    ),
    "FIFO": (become(lambda path: os.mkfifo(path, 0o600)), "{path} is no ordinary file"),
    "folder": (become(lambda path: path.mkdir(0o700)), "cannot read {path}: Is a directory"),
    "device": (become(null_device), "{path} is no ordinary file"),
    "gone": (become(lambda _: None), "cannot read {path}: No such file or directory"),
    "too large": (lambda path: os.truncate(path, checkpoint.MAX_BYTES + 1), "{path} is no ordinary file, or larger"),
}


@pytest.mark.timeout(10)  # a FIFO nobody writes to would be waited for
@pytest.mark.parametrize("how", NOT_OURS)
def test_nothing_is_loaded_that_others_could_have_written_or_that_is_no_file(how: str, saved: Path) -> None:
    change, said = NOT_OURS[how]
    if how in {"of another user", "a folder of another user", "device"} and os.geteuid() != 0:
        pytest.skip("only root can make it")
    change(saved)
    with pytest.raises(DataError) as problem:
        checkpoint.load(saved)

    assert str(problem.value).startswith(said.format(path=saved, folder=saved.parent))
    assert is_one_line(problem.value)


def test_a_planted_newest_one_is_passed_over(saved: Path) -> None:
    planted = save(saved.parent, 1, 6)
    planted.chmod(0o666)
    found, wrong = checkpoint.newest(saved.parent)

    assert found is not None
    assert found.where == "epoch 1, step 3"
    assert wrong == [f"{planted} could have been written by others; nothing is loaded from it"]


@dataclass
class Payload:
    """Runs a command when it is unpickled."""

    marker: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("signed", [False, True])
def test_a_pickle_in_place_of_a_checkpoint_never_runs(signed: bool, tmp_path: Path) -> None:
    """As the whole file, and as the tensors of one that is right in every other way."""
    planted, marker = save(tmp_path / "run.checkpoint", 1, 3), tmp_path / "it ran"
    marker = tmp_path / "it-ran"
    torch.save({"model": Payload(marker)}, tmp_path / "payload")
    payload = (tmp_path / "payload").read_bytes()
    if signed:
        body = planted.read_bytes().split(b"\n", 2)[1] + b"\n" + payload
        payload = resigned(body)
    planted.write_bytes(payload)
    with pytest.raises(DataError) as problem:
        checkpoint.load(planted)

    assert is_one_line(problem.value)
    assert not marker.exists()
    torch.load(tmp_path / "payload", weights_only=False)
    assert marker.exists(), "the payload is a live one"


def resigned(body: bytes) -> bytes:
    """Return a file whose digest is right for this body."""
    return b"%b %b\n%b" % (checkpoint.FORMAT, hashlib.sha256(body).hexdigest().encode(), body)


# How it is written.


def test_the_newest_two_and_the_newest_end_of_an_epoch_are_kept_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    folder, kept = tmp_path / "run.checkpoint", []
    for epoch, step in ((1, 3), (1, 6), (2, 0), (2, 3), (2, 6), (3, 0), (3, 3)):
        save(folder, epoch, step)
        kept.append([tuple(map(int, path.name.split("-"))) for path in checkpoint.generations(folder)])

    assert kept == [
        [(1, 3)],
        [(1, 6), (1, 3)],
        [(2, 0), (1, 6)],
        [(2, 3), (2, 0)],
        [(2, 6), (2, 3), (2, 0)],
        [(3, 0), (2, 6)],
        [(3, 3), (3, 0)],
    ]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert len([*folder.iterdir()]) == 2


def test_what_ranks_were_never_compared_on_is_discarded(tmp_path: Path) -> None:
    folder = tmp_path / "run.checkpoint"
    checkpoint.discard_unproved(folder)  # there is nothing yet
    save(folder, 1, 3), save(folder, 1, 6)
    checkpoint.discard_unproved(folder)
    assert not checkpoint.generations(folder)
    last = save(folder, 2, 0)
    save(folder, 2, 3), save(folder, 2, 6)
    checkpoint.discard_unproved(folder)
    assert checkpoint.generations(folder) == [last]


def test_what_cannot_be_discarded_is_named_and_no_attempt_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    cfg = replace(SHORT, results=tmp_path)
    here = world.solo(cfg)
    state = TrainState.of(task.of(cfg).step(cfg), cfg, STEPS)
    recorder = Recorder(state, Batches(task.of(cfg), samples("fp32"), cfg, here), cfg, here, "baseline")
    saver = Saver(state, recorder, cfg, here)
    path = save(saver.folder, 1, 3)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(TrainingError) as problem:
        saver.require_equal_weights("after epoch 1", [1, 2])

    assert (problem.value.exit_code, problem.value.is_final) == (4, True)
    assert str(problem.value) == (
        "after epoch 1 the weights of 1 rank (1) are not those of rank 0: memory or hardware failed; "
        f"cannot remove {path}: Read-only file system; remove it before you --resume"
    )


@pytest.mark.parametrize("at", range(1, 9))
def test_a_writer_killed_at_any_call_leaves_whole_generations_the_newest_or_the_one_before(
    at: int, tmp_path: Path
) -> None:
    folder = tmp_path / "results" / "run.checkpoint"
    for position in ((1, 0), (1, 3), (1, 6)):
        save(folder, *position)
    with killed_at_call(at) as calls:
        save(folder, 1, 9)
    found, wrong = checkpoint.newest(folder)

    assert found is not None
    assert wrong == []
    assert found.where == ("epoch 1, step 9" if "replace" in calls[: at - 1] else "epoch 1, step 6")
    assert calls == ["open", "write", "fsync", "replace", "open", "fsync", "unlink"][:at]
    files.claim(tmp_path / "results", writer=True)
    assert not [*folder.glob(".*")], "the next writer clears what the killed one left"
    assert save(folder, 1, 12) == checkpoint.generations(folder)[0]
    assert len(checkpoint.generations(folder)) == 3


@contextmanager
def killed_at_call(at: int) -> Iterator[list[str]]:
    """Make the so-manieth call that changes the disk, and all after it, not happen; of a write, half does."""
    calls: list[str] = []

    def deadly(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(calls) == at:
                raise Killed
            calls.append(name)
            if len(calls) == at:
                if name == "write":
                    original(*args[:-1], args[-1][: len(args[-1]) // 2])
                raise Killed
            return original(*args, **kwargs)

        return call

    class File:
        def __init__(self, handle: int, mode: str) -> None:
            self._file = open(handle, mode, buffering=0)  # noqa: SIM115
            self.write, self.flush, self.fileno = (
                deadly("write", self._file.write),
                self._file.flush,
                self._file.fileno,
            )

        def __enter__(self) -> "File":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for owner, name in ((os, "open"), (os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, deadly(name, getattr(owner, name)))
        patch.setattr(os, "fdopen", File)
        yield calls


# One writer at a time.

CLAIM = """
import sys, time
from pathlib import Path
from ddpbench import errors, files
def main():
    files.claim(Path(sys.argv[1]), writer=True)
    if sys.argv[2:]:
        print("mine", flush=True)
        time.sleep(60)
errors.run(main)
"""


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start programs that claim a folder: to hold it, with a second argument."""
    script, started = tmp_path / "second.py", []
    script.write_text(CLAIM)

    def start(*args: str | Path) -> "subprocess.Popen[str]":
        env = os.environ | {"PYTHONPATH": str(PROJECT)}
        started.append(subprocess.Popen([sys.executable, script, *args], env=env, stdout=-1, stderr=-1, text=True))
        return started[-1]

    yield start
    for writer in started:
        writer.kill()
        writer.communicate()


def test_a_second_writer_is_told_who_has_the_folder_and_a_dead_one_is_no_obstacle(
    claim: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    first = claim(results, "hold")
    assert first.stdout is not None
    assert first.stdout.readline() == "mine\n"
    second = claim(results)
    _, said = second.communicate(timeout=30)

    assert second.returncode == 2
    assert said == (
        f"second.py: {results} is in use by second.py, process {first.pid}; wait for it, or choose another --results\n"
    )
    files.claim(results, writer=False)  # the other ranks, and readers, ask nobody
    first.kill()
    first.wait()
    (results / "run.checkpoint").mkdir()
    left = [
        results / f".a.json.{first.pid}.partial",
        results / "run.checkpoint" / f".000001-00000001.{first.pid}.partial",
    ]
    for path in left:
        path.touch()
    third = claim(results)

    assert third.communicate(timeout=30) == ("", "")
    assert third.returncode == 0
    assert not any(path.exists() for path in left)
    assert [*results.rglob("*")] == [results / "run.checkpoint"]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ours = [tmp_path / ".a.json.1.partial", tmp_path / "run.checkpoint" / ".000001-00000000.7.partial"]
    others = [tmp_path / "a.partial", tmp_path / ".hidden", tmp_path / "run.checkpoint" / ".partial.txt"]
    # A study in the folder has a lock of its own: its writer may be alive, and its next run claims it.
    others.append(tmp_path / "study" / "run.checkpoint" / ".000001-00000000.7.partial")
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / ".folder.partial").mkdir()
    files.claim(tmp_path, writer=True)

    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in (*others, tmp_path / ".folder.partial"))


class Masked(torch.nn.Module):
    """A network with the mask of a transformer: a buffer that is infinite above its diagonal."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = torch.nn.Linear(6, 5), torch.nn.Linear(5, 2)
        self.register_buffer("mask", torch.nn.Transformer.generate_square_subsequent_mask(3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))  # type: ignore[no-any-return]


class Extra(Masked):
    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 1}


# Optimizers of a task: what they keep has other shapes than a parameter, or is kept of some parameters alone.
OWN: dict[str, Callable[[Masked], torch.optim.Optimizer]] = {
    "rows and columns": lambda net: torch.optim.Adafactor(net.parameters()),
    "of the head alone": lambda net: torch.optim.AdamW(net.head.parameters()),
    "of one group": lambda net: torch.optim.SGD(
        [{"params": net.body.parameters(), "momentum": 0.9}, {"params": net.head.parameters()}], lr=0.1
    ),
    "counted on the device": lambda net: torch.optim.Adam(net.parameters(), fused=True),
}


@pytest.mark.parametrize("name", OWN)
def test_what_a_tasks_own_optimizer_keeps_comes_back(name: str, tmp_path: Path) -> None:
    def step(net: Masked, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        net(torch.linspace(-1, 1, 24).view(4, 6)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    one, other = Masked(), Masked()
    optimizers = [OWN[name](net) for net in (one, other)]
    for _ in range(3):
        step(one, optimizers[0])
    manifest = Manifest(record=make_record(), epoch=1, step=3, train_s=1.0, alive_s=2.0, ddpbench=__version__)
    more = {"losses": torch.zeros(1, 3, dtype=torch.float64), "order": torch.arange(0)}
    path = checkpoint.save(tmp_path / "run.checkpoint", manifest, checkpoint.state_of(one, optimizers[0]) | more)
    checkpoint.restore(checkpoint.load(path), other, optimizers[1], None, 3)
    step(one, optimizers[0]), step(other, optimizers[1])

    assert as_bytes(checkpoint.state_of(one, optimizers[0])) == as_bytes(checkpoint.state_of(other, optimizers[1]))


def test_what_no_checkpoint_can_hold_is_refused_in_one_line() -> None:
    net = Masked()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.state[net.head.bias]["steps"] = 3
    with pytest.raises(UserError, match="the optimizer keeps steps as int, and a checkpoint holds tensors alone"):
        checkpoint.state_of(net, optimizer)
    with pytest.raises(UserError, match=r"the network keeps _extra_state by get_extra_state\(\)"):
        checkpoint.state_of(Extra(), optimizer)


def test_a_checkpoint_whose_weights_are_no_numbers_is_refused(tmp_path: Path) -> None:
    manifest = Manifest(record=make_record(), epoch=1, step=0, train_s=1.0, alive_s=2.0, ddpbench=__version__)
    more = {"losses": torch.zeros(1, 0, dtype=torch.float64), "order": torch.arange(0)}
    for name in ("model.weight", "optimizer.weight.exp_avg"):
        path = checkpoint.save(tmp_path / name, manifest, {name: torch.tensor([1.0, math.nan])} | more)
        with pytest.raises(DataError, match="holds numbers that are not finite"):
            checkpoint.load(path)
