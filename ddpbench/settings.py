"""What a run computes. A setting is declared here once: name, type, bounds, line of --help, and default.

`config` makes the flags from it, `record` stores it, and the judge compares it.
"""

from typing import Annotated, Literal

from msgspec import Meta

from ddpbench.fields import Part

Many = Annotated[int, Meta(ge=1, le=2**31)]
Rate = Annotated[float, Meta(gt=0, le=1e30)]
Share = Annotated[float, Meta(gt=0, le=1)]


def Help(text: str) -> Meta:  # noqa: N802 - it stands where a type stands
    """Return the line of --help for a field."""
    return Meta(description=text)


class Settings(Part, frozen=True):
    """Runs with equal settings are comparable: their times and accuracies may be set against each other.

    In a record, `device` is never "auto" and `lr` is never None: both are resolved when a run begins.
    """

    model: Annotated[Literal["cnn", "cnn-small", "mlp"], Help("network")] = "cnn"
    dataset: Annotated[
        Literal["mnist", "fashion-mnist", "synthetic"], Help("data set; synthetic needs no download")
    ] = "mnist"
    # The orders of samples of two seeds stay apart for so many epochs: see batches.EPOCHS_APART.
    epochs: Annotated[int, Meta(ge=1, le=999_999), Help("passes over the training set")] = 3
    global_batch: Annotated[Many, Help("samples per optimizer step, summed over ranks")] = 256
    lr: Annotated[Rate | None, Help("peak learning rate (default: by model and optimizer)")] = None
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1), Help("share of a label that is spread over all classes, in training")
    ] = 0.0
    target_accuracy: Annotated[
        Share | None, Help("stop after the first epoch whose test accuracy, 0 to 1, reaches it")
    ] = None
    optimizer: Annotated[Literal["adamw", "sgd"], Help("optimizer")] = "adamw"
    schedule: Annotated[
        Literal["one-cycle", "constant"],
        Help("learning rate over the run; one-cycle also cycles momentum, as torch's OneCycleLR does"),
    ] = "one-cycle"
    precision: Annotated[Literal["fp32", "bf16", "fp64"], Help("bf16 is autocast; fp64 is for proofs")] = "fp32"
    channels_last: Annotated[bool, Help("memory layout of convolution weights")] = True
    device: Annotated[Literal["auto", "cpu", "cuda"], Help("where to train; auto takes CUDA when there is a GPU")] = (
        "auto"
    )
