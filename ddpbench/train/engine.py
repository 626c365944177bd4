"""The training loop: one for both scripts. It knows no ranks; what is timed is visible as a block."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.optim.lr_scheduler import LRScheduler

from ddpbench.config import TrainConfig
from ddpbench.record import Kind
from ddpbench.tasks import models
from ddpbench.train import inject, optim
from ddpbench.train.checkpointer import Checkpointer, Unsaved
from ddpbench.train.clock import Stopwatch, synchronize
from ddpbench.train.data import Batches
from ddpbench.train.progress import EpochBar
from ddpbench.train.runlog import RunLog
from ddpbench.train.world import World


def fit(net: nn.Module, batches: Batches, cfg: TrainConfig, here: World, *, kind: Kind) -> None:
    """Train to cfg.epochs, or to cfg.target_accuracy if that comes first; go on where an earlier attempt has come to.

    The record in cfg.results is current after every epoch; the weights follow at the end.
    """
    optimizer = optim.build_optimizer(net, cfg)
    schedule = optim.build_schedule(optimizer, cfg, cfg.epochs * batches.steps)
    train, test = Stopwatch(lambda: synchronize(here.device)), Stopwatch(lambda: synchronize(here.device))
    log = RunLog(net, optimizer, batches, cfg, here, kind=kind)
    inject.add_loss(cfg.inject, net, batches, here)  # nothing, but for tests of the judge
    saver = Checkpointer(net, optimizer, schedule, batches, cfg, here, log)
    with log, saver:
        for epoch in saver.epochs():
            here.barrier()  # all clocks start together
            with log.cpu_time(), EpochBar(epoch, cfg.epochs, batches.steps, shown=here.is_main) as bar, train:
                losses = train_epoch(net, optimizer, schedule, batches, epoch, cfg, bar, saver)
            with test:
                correct = evaluate(models.bare(net), batches, cfg)
            log.epoch(epoch, saver.own_train_s(train.last_s), test.last_s, losses, correct)
            saver.epoch_done()
            if log.target_is_reached:
                break
        log.complete()


def train_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler | None,
    batches: Batches,
    epoch: int,
    cfg: TrainConfig,
    bar: EpochBar,
    saver: Unsaved,
) -> Tensor:
    """Take the steps of one epoch. Returns the loss of each on this rank [steps], left on the device."""
    net.train()
    precision = autocast(cfg, batches.train_labels.device)
    parameters = list(net.parameters())
    losses = saver.begin_epoch(epoch)
    for images, labels in batches.epoch(epoch, done=len(losses)):
        with precision:
            loss = F.cross_entropy(net(images), labels, label_smoothing=cfg.label_smoothing)
        losses.append(loss.detach())  # stays on the device: reading it here would wait for the step
        saver.before_reduction(losses)
        for parameter in parameters:  # optimizer.zero_grad() does the same and takes 5 % of a step at batch 16
            parameter.grad = None
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        bar.step(losses)
        saver.step(losses)
    return torch.stack(losses)


@torch.no_grad()
def evaluate(net: nn.Module, batches: Batches, cfg: TrainConfig) -> list[int]:
    """Count this rank's correct answers on its share of the test set, per class: add ranks first, divide once."""
    net.eval()
    correct = torch.zeros(len(batches.classes), dtype=torch.long, device=batches.test_labels.device)
    precision = autocast(cfg, batches.test_labels.device)
    for images, labels in batches.test():
        with precision:
            hits = net(images).argmax(1) == labels
        correct += labels[hits].bincount(minlength=len(correct))
    return [int(count) for count in correct.tolist()]


def autocast(cfg: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of the forward pass: bf16 where it was asked for, else nothing, which costs nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if cfg.precision == "bf16" else nullcontext()
