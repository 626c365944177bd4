"""What is seen of a network and of one step: sentences for the user, and errors for what workers cannot train."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ddpbench.errors import UserError
from ddpbench.tasks.step import Step

MANY_BYTES = 2**20  # of buffers that are sent at every step
HALVES = (torch.float16, torch.bfloat16)
NAMED = 3  # of several parameters in one sentence
MOST_LEFT_OUT = 0.05  # of the samples, in no batch: more are said
NO_INPUT = "None of the inputs have requires_grad=True"  # torch warns so of reentrant checkpointing


def some(names: Sequence[str]) -> str:
    """Return the first few of several names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def require_trainable(net: nn.Module, device: torch.device) -> None:
    """Raise UserError where a network, as model() returned it, is one that workers cannot train."""
    named = dict(net.named_parameters())
    if unusual := [name for name, value in named.items() if value.is_complex()]:
        raise UserError(
            f"model() makes complex parameters ({some(unusual)}), and DDP loses the imaginary part of their gradients; "
            "make real ones and use torch.view_as_complex"
        )
    if unusual := [name for name, value in net.named_buffers() if value.is_complex()]:
        raise UserError(
            f"model() makes complex buffers ({some(unusual)}), which lose their imaginary part when the network gets "
            "the type in which it is trained; keep two real ones"
        )
    if not any(value.requires_grad for value in named.values()):
        raise UserError("model() returned a network in which nothing is trained; leave requires_grad on for some of it")
    if early := [name for name, value in named.items() if _runs_in_backward(value)]:
        raise UserError(
            f"model() adds hooks that run in the backward pass ({some(early)}), before the gradients of workers are "
            "combined; remove them, also an optimizer that steps there"
        )
    alike = [name for name, each in net.named_modules() if isinstance(each, nn.SyncBatchNorm)]
    if alike and device.type == "cpu":
        raise UserError(f"model() uses SyncBatchNorm ({some(alike)}), which DDP refuses without a GPU; use BatchNorm")


def remarks(net: nn.Module) -> Iterator[str]:
    """Yield what a user may want to know about a network, as model() returned it."""
    named = dict(net.named_parameters())
    names = {id(value): name for name, value in named.items()}
    for name, value in net.named_parameters(remove_duplicate=False):
        if names[id(value)] != name:
            yield f"{name} and {names[id(value)]} are one tensor: it is counted once"
    if frozen := [name for name, value in named.items() if not value.requires_grad]:
        count = sum(named[name].numel() for name in frozen)
        yield f"{count:,} numbers are frozen ({some(frozen)}): they are neither trained nor combined"
    if halves := [name for name, value in named.items() if value.dtype in HALVES]:
        kinds = " and ".join(sorted({str(named[name].dtype).removeprefix("torch.") for name in halves}))
        yield f"parameters in {kinds} ({some(halves)}) are trained in float32; --precision bf16 rounds in each step"
    buffers = dict(net.named_buffers())
    size = sum(value.nbytes for value in buffers.values())
    if size > MANY_BYTES:
        largest = sorted(buffers, key=lambda name: -buffers[name].nbytes)
        yield (
            f"{size / 2**20:.1f} MiB of buffers ({some(largest)}) are sent to every worker at each step; "
            "tensors that never change need not be buffers"
        )
    if layers := len(shared_norms(net)):
        yield f"SyncBatchNorm in {layers} layers: workers exchange its statistics in every step"
    if is_compiled(net):
        yield "the network is compiled by torch.compile: this check ran it as plain Python"


def left_out(samples: int, batch: int) -> Iterator[str]:
    """Yield what is to be said of samples that are in no batch, where these are many."""
    if samples % batch > MOST_LEFT_OUT * samples:
        yield (
            f"{samples % batch:,} of {samples:,} samples are left out of every epoch, in one process too: they do not "
            f"fill a batch of {batch}"
        )


def norms(net: nn.Module) -> list[nn.Module]:
    """Return the batch norm layers that look at a batch, and at the samples of one worker alone."""
    alone = (each for each in net.modules() if isinstance(each, _BatchNorm) and not isinstance(each, nn.SyncBatchNorm))
    return [each for each in alone if each.training or each.running_mean is None]


def shared_norms(net: nn.Module) -> list[nn.Module]:
    """Return the batch norm layers whose statistics are those of all workers' samples."""
    return [each for each in net.modules() if isinstance(each, nn.SyncBatchNorm)]


def is_compiled(net: nn.Module) -> bool:
    """Whether torch.compile has a part of the network."""
    return any(
        type(each).__name__ == "OptimizedModule" or getattr(each, "_compiled_call_impl", None) is not None
        for each in net.modules()
    )


def require_figures(total: Tensor, count: float | Tensor) -> None:
    """Raise UserError where a sum that loss() returned, or its number, is a figure that cannot be."""
    if not bool(total.isfinite()):
        raise UserError(f"loss() returned {total.item()} on the first batch; a sum must be finite")
    is_weight = isinstance(count, Tensor) and count.is_floating_point()  # the number may be a sum of weights
    if not (float(count) > 0 if is_weight else float(count) >= 1):
        raise UserError(f"loss() returned the number {float(count):g}; at least 1 loss of a batch must count")


def require_gradients(net: nn.Module, warned: Sequence[str] = ()) -> None:
    """Raise UserError where the gradients of one step are such that workers cannot combine them.

    `warned` are warnings of its forward pass.
    """
    named = {name: value for name, value in net.named_parameters() if value.requires_grad}
    if without := [name for name, value in named.items() if value.grad is None]:
        if any(NO_INPUT in line for line in warned):
            raise UserError(
                f"{some(without)} gets no gradient, because reentrant checkpointing needs an input that has one; pass "
                "use_reentrant=False to torch.utils.checkpoint"
            )
        raise UserError(
            f"the loss gives no gradient to {some(without)}: DDP would stop at the second step; freeze such parameters "
            "in model() with requires_grad_(False), or use them"
        )
    gradients = {name: value.grad for name, value in named.items() if value.grad is not None}
    if sparse := [name for name, value in gradients.items() if value.layout != torch.strided]:
        raise UserError(f"{some(sparse)} has sparse gradients, which shm and nccl cannot combine; use sparse=False")
    if wrong := [name for name, value in gradients.items() if not bool(value.isfinite().all())]:
        raise UserError(f"the gradient of {some(wrong)} is not finite on the first batch; look for a division by zero")


def require_own_parameters(step: Step, total: Tensor) -> None:
    """Raise UserError where a loss reaches a parameter that is none of the network: nobody would update it."""
    own = {id(value) for value in step.net.parameters()}
    seen, left = set[object](), [total.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        left += [following for following, _ in node.next_functions]
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, nn.Parameter) and id(leaf) not in own:
            raise UserError(
                f"loss() trains a parameter of shape {[*leaf.shape]} that is not in the network: no optimizer would "
                "update it; make it a part of what model() returns"
            )


def signature(net: nn.Module) -> dict[str, tuple[object, ...]]:
    """Return the shape of every parameter and buffer by its name, and whether it is trained."""
    values = (*net.named_parameters(), *net.named_buffers())
    return {name: (tuple(value.shape), value.requires_grad) for name, value in values}


def require_unchanged(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> None:
    """Raise UserError where a step added, took away or changed a parameter or a buffer."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if changed:
        name = changed[0]
        what = "changed" if name in before and name in after else "vanished" if name in before else "appeared"
        raise UserError(f"{name} {what} during the first step, and DDP would not know; make it so in model()")


def without_dropout(net: nn.Module) -> None:
    """Set the share that dropout leaves out to 0: in torch's modules, and in others that name it so."""
    for module in net.modules():
        for name, value in list(vars(module).items()):
            drops = "drop" in name or (name == "p" and isinstance(module, _DropoutNd))
            drops |= name == "p" and type(module).__name__ == "StochasticDepth"
            if drops and isinstance(value, float):
                setattr(module, name, 0.0)


def without_peers(net: nn.Module) -> None:
    """Let SyncBatchNorm look at the samples of this process alone: others do not take part in this pass."""
    for module in net.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.__class__ = _NoPeers  # type: ignore[assignment]  # it has all that batch norm needs


def eager(net: nn.Module) -> AbstractContextManager[object]:
    """Return a context in which a compiled network runs as plain Python: the compiler would take minutes."""
    return torch.compiler.set_stance("force_eager") if is_compiled(net) else nullcontext()


def without_statistics(net: nn.Module) -> None:
    """Let every batch norm layer use numbers of its own in place of those of the batch."""
    like = next(net.parameters())
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            if module.running_mean is None:
                module.running_mean = like.new_zeros(module.num_features)
                module.running_var = like.new_ones(module.num_features)


class _NoPeers(_BatchNorm):
    def _check_input_dim(self, _: Tensor) -> None:
        """Take an input of any number of dimensions, as SyncBatchNorm does."""


def _runs_in_backward(value: Tensor) -> bool:
    names = ("_in_backward_optimizers", "_post_accumulate_grad_hooks")
    return any(getattr(value, name, None) for name in names)
