"""Whether the gradients of shares of a batch, added up, are the gradient of the whole batch; and if not, why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddpbench.errors import UserError
from ddpbench.train.findings import some

MOST_NUMBERS = 1_000  # of the gradient of one parameter that are looked at for a reason


@dataclass(frozen=True, slots=True)
class Pass:
    """What one backward pass left: the gradient of the sum that loss() returned, by parameter, and its number."""

    gradients: dict[str, Tensor]  # 0 where there is none
    total: float
    count: float
    is_known: bool  # the number was no tensor: training takes it for equal in all steps and on all workers
    unused: list[str]  # parameters without gradient


def read(net: nn.Module, total: Tensor, count: float | Tensor) -> Pass:
    """Return what a backward pass left in the parameters of a network."""
    named = {name: value for name, value in net.named_parameters() if value.requires_grad}
    gradients = {name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in named.items()}
    unused = [name for name, value in named.items() if value.grad is None]
    return Pass(gradients, total.item(), float(count), not isinstance(count, Tensor), unused)


def require_same(one: nn.Module, other: nn.Module) -> None:
    """Raise UserError where two calls of model() with one seed returned other weights, or share them."""
    left, right = (dict([*net.named_parameters(), *net.named_buffers()]) for net in (one, other))
    if shared := [name for name, value in left.items() if right.get(name) is value]:
        raise UserError(f"model() returns the same {some(shared)} each time; make a new network in every call")
    different = [name for name in {**left, **right} if not _same(left.get(name), right.get(name))]
    if different:
        raise UserError(
            f"model() is not a function of the seed: {some(different)} differs in a second call; draw from torch's "
            "generator alone, which is seeded before each call"
        )


def agree(some_passes: Sequence[Pass], others: Sequence[Pass], tolerance: float) -> bool:
    """Whether two groups of passes give the same mean gradient, parameter by parameter."""
    return not differing(some_passes, others, tolerance)


def differing(some_passes: Sequence[Pass], others: Sequence[Pass], tolerance: float) -> list[str]:
    """Return the parameters for which two groups of passes do not give the same mean gradient."""
    one, other = _mean(some_passes), _mean(others)
    sizes = {name: float(value.norm()) for name, value in one.items()}
    # A gradient that is 0 but for rounding, as of a bias before batch norm, is held against the largest one.
    least = max(sizes.values()) / 100
    return [
        name
        for name, size in sizes.items()
        if not float((one[name] - other[name]).norm()) <= tolerance * (size + least)
    ]


def uneven_use(shares: Sequence[Pass], *, may_differ: bool) -> list[str]:
    """Return what is to be said where shares use other parameters, or count otherwise.

    `may_differ`: these shares are smaller than those in training. Otherwise it is an error.
    """
    known = {share.count for share in shares if share.is_known}
    if len(known) > 1:
        raise UserError(
            f"loss() returned the numbers {min(known):g} and {max(known):g} for equal shares of a batch; a number that "
            "differs from batch to batch must be a tensor, because workers add theirs up"
        )
    if not all(math.isfinite(share.total) for share in shares):
        raise UserError(
            "the loss of one worker's share of a batch is not finite, and that of the whole batch is (a mean over "
            "nothing?); return (sum, count)"
        )
    changing = sorted({name for share in shares for name in share.unused})
    if not changing:
        return []
    said = (
        f"which parameters get a gradient changes from batch to batch ({some(changing)}): DDP would stop; let every "
        "batch use them, as by adding 0 times their sum to the loss"
    )
    if not may_differ:
        raise UserError(said)
    return [said.replace("DDP would stop", "if that happens in training, DDP stops")]


def explain(whole: Pass, shares: Sequence[Pass], tolerance: float) -> str:
    """Return why the gradients of shares do not add up to that of the whole batch, in a sentence.

    It is looked for weights of the shares with which they do. Weights of 1 belong to a sum, and those that add up to 1
    to a mean. Where there are none, the shares lack something: samples of one worker meet those of another.
    """
    weights = _weights(whole, shares, tolerance)
    size = len(shares)
    if weights is not None:
        if all(abs(weight - 1) < 100 * tolerance for weight in weights):
            counted = sum(share.count for share in shares)
            return (
                f"loss() returns a sum with the number {whole.count:g} for a batch, and {counted:g} for its {size} "
                "shares together; return (sum, count), where count says how many were summed"
            )
        if abs(sum(weights) - 1) < 100 * tolerance and min(weights) >= 0:
            if max(weights) - min(weights) < 100 * tolerance:
                return (
                    f"loss() returns a mean as its sum, so {size} workers follow a gradient {size} times as large; "
                    "return (sum, count), or the mean alone"
                )
            low, high = (size * weight for weight in (min(weights), max(weights)))
            return (
                f"loss() returns a mean over unlike numbers, so {size} workers follow another gradient: each counts "
                f"alike, and should count {low:.2f} to {high:.2f} times; return (sum, count)"
            )
    return (
        f"the loss depends on which samples meet in a batch: at {size} workers each sees a part of it, and "
        f"their gradient points elsewhere (cosine {_cosine(whole, shares):.3f}); accuracy is that of another objective"
    )


def _mean(passes: Sequence[Pass]) -> dict[str, Tensor]:
    count = sum(each.count for each in passes)
    names = passes[0].gradients
    return {name: torch.stack([each.gradients[name] for each in passes]).sum(0) / count for name in names}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())  # two that are not a number are the same


def _weights(whole: Pass, shares: Sequence[Pass], tolerance: float) -> list[float] | None:
    """Return the weights with which the gradients of shares add up to that of the whole; None where there are none."""
    target, *columns = (_few(each) for each in (whole, *shares))
    table = torch.stack(columns, 1)
    if len(target) <= 2 * len(columns):  # anything would fit
        return None
    weights = torch.linalg.lstsq(table, target.unsqueeze(1), driver="gelsd").solution
    missed = (table @ weights).squeeze(1) - target
    return weights.squeeze(1).tolist() if float(missed.norm()) <= 10 * tolerance * float(target.norm()) else None


def _few(each: Pass) -> Tensor:
    """Return some numbers of every gradient, evenly spread, in double precision on the CPU."""
    flat = [value.reshape(-1) for value in each.gradients.values()]
    return torch.cat([value[:: -(-len(value) // MOST_NUMBERS)].double().cpu() for value in flat if len(value)])


def _cosine(whole: Pass, shares: Sequence[Pass]) -> float:
    one, other = _few(whole), torch.stack([_few(each) for each in shares]).sum(0)
    return float(torch.cosine_similarity(one, other, dim=0))
