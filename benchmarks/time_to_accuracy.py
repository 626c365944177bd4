"""Seconds to 99 % on MNIST: one process and two ranks with the same small network, and the textbook for scale.

python -m benchmarks.time_to_accuracy              20 seeds an arm, the textbook once
python -m benchmarks.time_to_accuracy 5 0          5 seeds an arm, no textbook

Clocks: training alone; training and the evaluation after every epoch; the whole process, from the start of python or
torchrun to its end. The recipe and its length are fixed: a seed that ends below 99 % is counted as a failure, and its
seconds count all the same. The textbook is the network and the settings of pytorch/examples' mnist (two 3x3
convolutions, dropout, Adadelta, batch 64) on every core, trained until an epoch ends with 99 %; its clock is training
alone.
"""

import sys
import time
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from benchmarks.rounds import Report, in_turn, train
from benchmarks.textbook import textbook_loader
from ddpbench import environment
from ddpbench.config import TrainConfig
from ddpbench.record import Record
from ddpbench.tasks import task
from ddpbench.tasks.samples import Samples

TARGET = 0.99
RECIPE = ("--model", "cnn-small", "--epochs", "2", "--label-smoothing", "0.2", "--device", "cpu")
MOST_EPOCHS = 14  # of the textbook: its own default


def main() -> None:
    """Run every arm once per seed, in turn; then the textbook."""
    seeds, texts = map(int, (*sys.argv[1:], *("20", "1")[len(sys.argv) - 1 :]))
    cores = environment.usable_cores()
    torchrun = ("-m", "torch.distributed.run", f"--nproc-per-node={cores}", "ddp_train.py", "--threads", "1")
    arms = {
        f"baseline, {cores} threads": ("baseline_train.py", "--threads", str(cores)),
        f"ddp {cores} x 1, shm": (*torchrun, "--comm", "shm"),
    }
    runs: dict[str, list[tuple[Record, float]]] = {name: [] for name in arms}
    for seed in range(seeds):
        for name in in_turn([*arms], seed):
            runs[name].append(train(*arms[name], *RECIPE, "--seed", str(seed)))
    report = Report("time_to_accuracy")
    training_s = {name: tell(report, name, done) for name, done in runs.items()}
    if texts:
        torch.set_num_threads(cores)
        found = [textbook_s(seed) for seed in range(texts)]
        report.section(f"pytorch/examples' mnist until {TARGET:.0%}, {cores} threads")
        report.figure("epochs", [float(epochs) for epochs, _ in found], "epochs")
        report.figure("training alone", [seconds for _, seconds in found], "s")
        textbook = median(seconds for _, seconds in found)
        for name, values in training_s.items():
            report.figure(f"over {name}", [textbook / value for value in values], "times")
    report.write()


def tell(report: Report, name: str, done: list[tuple[Record, float]]) -> list[float]:
    """Add an arm's figures to the report. Returns its seconds of training alone."""
    accuracy = [100 * record.epochs[-1].metric for record, _ in done]
    training_s = [sum(epoch.train_s for epoch in record.epochs) for record, _ in done]
    evaluation_s = [sum(epoch.eval_s for epoch in record.epochs) for record, _ in done]
    report.section(name)
    report.figure("training alone", training_s, "s")
    report.figure("training and evaluation", [sum(pair) for pair in zip(training_s, evaluation_s, strict=True)], "s")
    report.figure("the whole process", [process_s for _, process_s in done], "s")
    report.figure("test accuracy", accuracy, "%")
    report.figure(f"seeds below {TARGET:.0%}", [float(sum(value < 100 * TARGET for value in accuracy))], "seeds")
    return training_s


def textbook_s(seed: int) -> tuple[int, float]:
    """Train the textbook until an epoch ends with the target. Returns epochs and the seconds of training alone."""
    torch.manual_seed(seed)
    cfg = TrainConfig(device="cpu")
    loader, test = textbook_loader(cfg.data_dir, 64), task.of(cfg).data(cfg).test
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    training_s = 0.0
    for epoch in range(1, MOST_EPOCHS + 1):
        net.train()
        begin = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
        training_s += time.perf_counter() - begin
        schedule.step()
        net.eval()
        with torch.no_grad():
            assert isinstance(test, Samples), "MNIST is in memory"
            parts = zip(*(tensor.split(1_000) for tensor in test.tensors), strict=True)
            right = sum(int((net(images).argmax(1) == labels).sum()) for images, labels in parts)
        if right / len(test) >= TARGET:
            return epoch, training_s
    raise SystemExit(f"the textbook did not reach {TARGET:.0%} in {MOST_EPOCHS} epochs")


if __name__ == "__main__":
    main()
