"""The training loop, one for both scripts. It knows no ranks; what is timed is visible as a block."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from ddpbench.config import TrainConfig
from ddpbench.errors import UserError, one_line
from ddpbench.record import Kind
from ddpbench.tasks.tested import Tested, add_up
from ddpbench.train.batches import Batches
from ddpbench.train.onlookers import Dice, Heartbeat, Onlooker, Onlookers, load_hook
from ddpbench.train.progress import Bar
from ddpbench.train.recorder import Recorder
from ddpbench.train.saver import Saver
from ddpbench.train.state import TrainState
from ddpbench.train.timers import Timers
from ddpbench.train.world import World

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # types of autocast, by --precision


def fit(net: nn.Module, batches: Batches, cfg: TrainConfig, here: World, *, kind: Kind) -> None:
    """Train to cfg.epochs, or to cfg.target_accuracy if that comes first, from where an earlier attempt has come to.

    The record in cfg.results is current after every epoch; the weights follow at the end.
    """
    state = TrainState.of(net, cfg, batches.steps, here)
    recorder = Recorder(state, batches, cfg, here, kind)
    timers = Timers(state, batches, here)
    heartbeat = Heartbeat(here.process, cfg.timeout_s)
    saver = Saver(state, recorder, cfg, here)  # puts the state back to where an earlier attempt has come to
    bar = Bar(cfg.epochs, shown=here.is_main)
    onlookers = Onlookers([heartbeat, Dice(cfg.seed, here), *load_hook(cfg, state, batches, here), saver, timers, bar])
    with recorder, heartbeat, saver, bar:
        while state.epoch <= cfg.epochs and not recorder.target_is_reached:
            here.barrier()  # all clocks start together
            with timers.training():
                train_epoch(state, batches, cfg, onlookers)
            with timers.evaluation():
                here.send_buffers(state.bare_net)
                tested = evaluate(state.bare_net, batches, cfg, heartbeat.beat)
            measured = here.gather(timers.measurements(state, tested))  # by all ranks
            saver.require_equal_weights(f"after epoch {state.epoch}", [each.weights_sha256 for each in measured])
            recorder.add_epoch(state, measured)
            onlookers.epoch_recorded(state)
            state.begin_next_epoch()
        recorder.complete(state)
        saver.discard_checkpoints()


@contextmanager
def halves_explained() -> Iterator[None]:
    """Raise UserError, in one line, where torch lacks an operation in fp16 on this device."""
    try:
        yield
    except (RuntimeError, UserError) as problem:
        if "'Half'" not in str(problem):
            raise
        raise UserError(
            f"torch cannot compute this network in fp16 on this device ({one_line(str(problem)[:120])}); "
            "use --precision bf16 or fp32"
        ) from problem


@halves_explained()
def train_epoch(state: TrainState, batches: Batches, cfg: TrainConfig, onlookers: Onlooker) -> None:
    """Take the steps of one epoch that are left. The loss of each step is added to `state.losses`."""
    optimizer, schedule = state.optimizer, state.schedule
    state.net.train()
    state.shares.clear()  # an earlier attempt took the steps whose losses are there
    onlookers.epoch_begins(state)
    mine = batches.epoch(state.epoch, done=len(state.losses))
    for loss, total, share in state.passes.of(mine, autocast(cfg, batches.device)):
        state.losses.append(loss)  # on the device: to read it here would wait for the step
        state.shares.append(share)
        onlookers.loss_computed(state)
        state.passes.backward(total, share)  # `share` is what one loss counts in the mean that is trained on
        optimizer.step()
        if schedule is not None:
            schedule.step()
        onlookers.step_taken(state)
    onlookers.epoch_trained(state)


@torch.no_grad()
def evaluate(net: nn.Module, batches: Batches, cfg: TrainConfig, beat: Callable[[], None] = lambda: None) -> Tested:
    """Return what the task counts over this rank's share of the test set. Shares are added up, and divided later.

    It calls `beat` before every batch: a test set may take longer than any step.
    """
    net.eval()
    precision, found = autocast(cfg, batches.device), list[Tested]()
    for batch in batches.test():
        beat()
        with precision:
            found.append(batches.task.measure(net, batch, cfg))
    return add_up(found)


def autocast(cfg: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of the forward pass: bf16 or fp16 where that is asked for, else nothing, which is free."""
    kind = HALVES.get(cfg.precision)
    return nullcontext() if kind is None else torch.autocast(device.type, dtype=kind)
