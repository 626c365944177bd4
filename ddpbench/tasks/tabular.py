"""Regression: the last column of a table from the others. `--task tabular:FILE.csv` reads a table of yours."""

import csv
import math
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from ddpbench.errors import UserError

batch, epochs = 64, 10
test_batch = 10_000
margin, lower_is_better = 0.01, True  # of the error, in standard deviations of the target: it fits every table
score = math.sqrt  # of the mean squared error
COLUMNS = 10  # of the table that we make, beside the target
FEWEST = 10  # rows of a table
Rows = tuple[Tensor, Tensor]  # features [N, columns] and targets [N], both standardised


def model(path: str = "", width: int = 64) -> nn.Module:
    """Return a network of three layers."""
    columns = _read(str(path)).shape[1] - 1 if path else COLUMNS
    layers = (nn.Linear(columns, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
    return nn.Sequential(*layers, nn.Flatten(0))


def data(path: str = "", rows: int = 20_000) -> tuple[Rows, Rows]:
    """Return four fifths of the rows to train on, and one fifth to test with. `rows` is for the table that we make."""
    table = _read(str(path)) if path else _friedman(rows)
    table = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    train, test = table.split([len(table) - len(table) // 5, len(table) // 5])
    mean, deviation = train.mean(0), train.std(0)
    deviation[deviation == 0] = 1  # of a column that is the same in all rows
    train, test = (((part - mean) / deviation).float() for part in (train, test))
    return (train[:, :-1], train[:, -1]), (test[:, :-1], test[:, -1])


def loss(net: nn.Module, batch: Rows) -> tuple[Tensor, int]:
    """Return the sum of the squared errors of a batch, and how many were summed."""
    features, targets = batch
    return F.mse_loss(net(features), targets, reduction="sum"), len(targets)


def metric(net: nn.Module, batch: Rows) -> dict[str, tuple[Tensor, int]]:
    """Return the same: `score` takes the root of the mean over the whole test set."""
    return {"error": loss(net, batch)}


def _friedman(rows: int) -> Tensor:
    """Make a table by Friedman's first function with noise of deviation 1. Five of its columns mean nothing."""
    if rows < FEWEST:
        raise UserError(f"--set rows={rows}: it must be at least {FEWEST}")
    random = torch.Generator().manual_seed(0)
    x = torch.rand(rows, COLUMNS, generator=random, dtype=torch.float64)
    noise = torch.randn(rows, generator=random, dtype=torch.float64)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4] + noise
    return torch.cat([x, y.unsqueeze(1)], dim=1)


@cache
def _read(path: str) -> Tensor:
    """Read a table of numbers; its first line may be a header. Raises UserError, with the line, for anything else."""
    rows: list[list[float]] = []
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            for cells in (lines := csv.reader(file)):
                try:
                    row = [float(cell) for cell in cells]
                except ValueError:
                    row = [] if lines.line_num == 1 else [math.nan]
                if not all(map(math.isfinite, row)) or (rows and row and len(row) != len(rows[0])):
                    wanted = f"{len(rows[0])} numbers" if rows else "numbers"
                    raise UserError(f"{path}, line {lines.line_num}: expected {wanted}, got {','.join(cells)[:60]!r}")
                rows += [row] if row else []
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise UserError(f"{path} cannot be read as a table: {why}") from problem
    if len(rows) < FEWEST or len(rows[0]) < 2:
        found = f"{len(rows)} rows of {len(rows[0]) if rows else 0} columns"
        raise UserError(f"{path} has {found}; a table has at least {FEWEST} rows, and a target beside other columns")
    return torch.tensor(rows, dtype=torch.float64)
