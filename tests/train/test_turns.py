"""Arms in turns: each trains as a run of its own would, among others and on a part of the ranks."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import torch

from ddpbench.arm import Arm
from ddpbench.config import TrainConfig
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples
from ddpbench.train import world
from ddpbench.train.batches import Batches
from ddpbench.train.contenders import REPLAYED_STEPS, Contender, Stream
from ddpbench.train.turns import Rounds
from ddpbench.turns import Launch, Question, TurnArm, Visit, read_launch
from tests import warm

CFG = TrainConfig(dataset="synthetic", model="mlp", global_batch=240, device="cpu", threads=1)
# Writes down which world an arm has on this rank, and its weights after three steps and at the end.
HOOK = """
from dataclasses import dataclass
from pathlib import Path
from ddpbench.train.onlookers import Onlooker

@dataclass
class Weights(Onlooker):
    path: Path
    steps: int = 0

    def step_taken(self, state):
        self.steps += 1
        if self.steps == 3:
            self.path.with_suffix(".early").write_bytes(state.weights_sha256())

    def epoch_trained(self, state):
        self.path.with_suffix(".late").write_bytes(state.weights_sha256())

def onlookers(words, state, batches, cfg, here):
    kind = "data_parallel" if cfg.data_parallel else here.comm
    assert here.local_size == here.size
    if here.rank == 1:
        batches.rank_batch += 1
    return [Weights(Path(words) / f"{kind}-{here.size}-{here.rank}")]
"""


def turn(kind: str, size: int, comm: str | None, global_batch: int = CFG.global_batch) -> TurnArm:
    return TurnArm(arm=Arm(kind, size, 1, comm), global_batch=global_batch)


ALONE, ONE = turn("baseline", 1, None), turn("ddp", 1, "gloo")
SPLIT = [] if torch.cuda.is_available() else [turn("data_parallel", 1, None)]  # it takes every GPU where there are any
TWO = [turn("ddp", 2, comm) for comm in ("gloo", "shm", "none", "nothing")]
THREE = [turn("ddp", 3, comm, 480) for comm in ("gloo", "shm", "none", "nothing")]


def ask(arms: list[TurnArm], path: Path, *flags: str) -> str:
    words = ["--dataset", "synthetic", "--model", "mlp", "--global-batch", "240", "--device", "cpu", *flags]
    return msgspec.json.encode(Question(words, arms, arms, number=0, seconds=0.0, path=str(path))).decode()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Launch, Path]:
    """One launch of arms on one, two and three ranks, and the folder of what the hook wrote."""
    folder = tmp_path_factory.mktemp("turns")
    (folder / "weights.py").write_text(HOOK)
    path = folder / "turns-000.json"
    question = ask([ALONE, *SPLIT, ONE, *TWO, *THREE], path, "--hook", f"{folder}/weights.py:{folder}")
    ranks = warm.start_ranks(3, "-m", "ddpbench.train.turns", question, folder=folder)
    ended = [rank.wait() for rank in ranks]
    assert [rank.returncode for rank in ended] == [0, 0, 0], [rank.stderr for rank in ended]
    return read_launch(path), folder


@pytest.mark.slow
def test_a_launch_records_every_arm_with_as_many_ranks_as_it_has(launched: tuple[Launch, Path]) -> None:
    launch, _ = launched
    batches = {each.turn: each.rank_batches for each in launch.visits}

    assert [each.turn for each in launch.visits] == [ALONE, *SPLIT, ONE, *TWO, *THREE]
    assert launch.parameters == 101_770
    assert str(launch.injected).startswith("weights.py:")
    assert [batches[each] for each in (ALONE, *SPLIT, ONE)] == [[240]] * (2 + len(SPLIT))
    assert batches[TWO[0]] == [120, 121], "the hook has changed the second"
    assert batches[THREE[0]] == [160, 161, 160]
    assert {each.turn for each in launch.visits if each.reduce_s} == {
        each for each in (ONE, *TWO, *THREE) if each.arm.comm != "none"
    }


@pytest.mark.slow
def test_ranks_of_a_part_train_together_and_controls_apart(launched: tuple[Launch, Path]) -> None:
    _, folder = launched
    together = {
        (comm, size): len({(folder / f"{comm}-{size}-{rank}.late").read_bytes() for rank in range(size)}) == 1
        for comm in ("gloo", "shm", "none", "nothing")
        for size in (2, 3)
    }

    assert together == {(comm, size): comm in ("gloo", "shm") for comm, size in together}
    assert (folder / "gloo-2-0.early").read_bytes() == (folder / "shm-2-0.early").read_bytes()
    assert len(list(folder.glob("*.late"))) == 2 + len(SPLIT) + 4 * (2 + 3), "no arm has more ranks than its own"


@pytest.mark.slow
def test_one_process_learns_the_same_bits_alone_and_wrapped(launched: tuple[Launch, Path]) -> None:
    _, folder = launched
    names = ["None-1-0", "gloo-1-0", *(["data_parallel-1-0"] if SPLIT else [])]
    weights = {(folder / f"{name}.early").read_bytes() for name in names}

    assert len(weights) == 1


@pytest.mark.slow
def test_a_batch_of_an_arm_that_the_data_does_not_fill_is_refused(tmp_path: Path) -> None:
    question = ask([turn("baseline", 1, None, 6_001)], tmp_path / "turns-000.json")
    (done,) = (rank.wait() for rank in warm.start_ranks(1, "-m", "ddpbench.train.turns", question, folder=tmp_path))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--global-batch 6001 is more than one epoch" in done.stderr


@pytest.mark.usefixtures("one_thread")
def test_a_visit_takes_its_steps_and_shares_the_data() -> None:
    data = task.of(CFG).data(CFG)
    contender = Contender(ALONE, data, CFG, world.solo(CFG))
    taken = []
    contender._state.optimizer.register_step_post_hook(lambda *_: taken.append(1))
    visit = contender.visit(3, uncounted=1)

    assert contender.takes_part
    assert contender.rank_batches == [240]
    assert visit.block_s > 0
    assert visit.waits_s == [], "one process waits for nobody"
    assert visit.data_s is None, "the data is in memory"
    assert len(taken) == 1 + 3
    assert isinstance(data.train, Samples)
    assert isinstance(again := data.to(torch.device("cpu")).train, Samples)
    assert again.tensors[0] is data.train.tensors[0]


@dataclass
class Fake:
    """An arm whose steps take as long as they are said to, its first one longer."""

    step_s: float
    first_s: float
    turn: TurnArm = ALONE
    visits: list[tuple[int, int]] = field(default_factory=list)  # steps, uncounted
    takes_part = True

    def visit(self, steps: int, uncounted: int) -> Visit:
        is_first = not self.visits and not uncounted
        self.visits.append((steps, uncounted))
        return Visit(self.first_s if is_first else steps * self.step_s, [], None)


@pytest.mark.parametrize(
    ("step_s", "first_s", "calibrated", "block"),
    [
        (0.01, 20.0, [(1, 1), (3, 1)], (5, 1)),  # torch.compile works in the first step
        (0.0001, 0.01, [(1, 1), (3, 1)], (500, 1)),
        (0.15, 0.3, [(1, 1), (3, 1)], (2, 1)),
        (0.25, 0.3, [(1, 1)], (1, 0)),
    ],
)
def test_blocks_are_as_long_as_a_twentieth_of_a_second_and_long_steps_are_one_each(
    step_s: float, first_s: float, calibrated: list[tuple[int, int]], block: tuple[int, int]
) -> None:
    fake = Fake(step_s, first_s)
    rounds = Rounds([fake], world.solo(CFG), 0)  # type: ignore[list-item]  # all that rounds need
    rounds.calibrate()
    before = [*fake.visits]
    rounds.run(0.0)

    assert (before, fake.visits[-1]) == (calibrated, block)


def test_a_stream_goes_on_over_epochs_without_an_end() -> None:
    cfg = TrainConfig(dataset="synthetic", global_batch=3_000, device="cpu")
    batches = Batches.load(cfg, world.solo(cfg))
    stream = Stream(batches, replayed=False)
    stream.size = 3
    streamed = [labels for _ in range(2) for _, labels in stream.epoch(1)]
    expected = [labels for epoch in (1, 2, 3) for _, labels in batches.epoch(epoch)]

    assert all(torch.equal(one, other) for one, other in zip(streamed, expected, strict=True))


def test_a_stream_that_is_replayed_has_the_first_batches_again_and_again() -> None:
    cfg = TrainConfig(dataset="synthetic", global_batch=1_000, device="cpu")
    batches = Batches.load(cfg, world.solo(cfg))
    stream = Stream(batches, replayed=True)
    stream.size = 2 * REPLAYED_STEPS
    streamed = [labels for _, labels in stream.epoch(1)]
    first = [labels for _, labels in batches.epoch(1)][:REPLAYED_STEPS]

    assert all(torch.equal(one, other) for one, other in zip(streamed, [*first, *first], strict=True))
