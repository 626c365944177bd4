"""What a run computes. A setting is declared here once: name, type, bounds, line of --help, and default.

`config` makes the flags from it, `record` stores it, and the judge compares it.
"""

from typing import Annotated, Literal

from msgspec import Meta

from ddpbench.fields import Part, Text

Many = Annotated[int, Meta(ge=1, le=2**31)]
Rate = Annotated[float, Meta(gt=0, le=1e30)]
Share = Annotated[float, Meta(gt=0, le=1)]


def Help(text: str) -> Meta:  # noqa: N802 - it stands where a type stands
    """Return the line of --help for a field."""
    return Meta(description=text)


class Settings(Part, frozen=True):
    """Runs with equal settings are comparable: their times and accuracies may be set against each other.

    In a record all is resolved: `device` is never "auto", `lr`, `model` and `dataset` are never None, `task` is a name
    without folders, and `optimizer` is "task" where the task makes its own.
    """

    task: Annotated[Text, Help("what is trained: mnist, or a file of yours, FILE.py or FILE.py:CLASS")] = "mnist"
    set: Annotated[
        tuple[Text, ...], Help("NAME=VALUE: an argument for the functions of the task; may be repeated")
    ] = ()
    task_sha256: Text | None = None  # of a user's file and of the files beside it that it imports
    model: Annotated[Text | None, Help("network of the task; mnist: cnn, cnn-small or mlp (default: cnn)")] = None
    dataset: Annotated[
        Text | None,
        Help("data of the task; mnist: mnist, fashion-mnist, or synthetic, which needs no download (default: mnist)"),
    ] = None
    readers: Annotated[
        Annotated[int, Meta(ge=0, le=64)] | None,
        Help("processes that read data while training, for each CPU thread (default: data that fit stay in memory)"),
    ] = None
    # The orders of samples of two seeds stay apart for so many epochs: see batches.EPOCHS_APART.
    epochs: Annotated[int, Meta(ge=1, le=999_999), Help("passes over the training set")] = 3
    global_batch: Annotated[Many, Help("samples per optimizer step, summed over ranks")] = 256
    accumulate: Annotated[
        Annotated[int, Meta(ge=1, le=4_096)],
        Help("parts of a rank's batch that are computed one after the other before gradients are combined"),
    ] = 1
    clip: Annotated[
        Rate | None, Help("largest norm of all gradients together, once they are combined (default: no limit)")
    ] = None
    lr: Annotated[Rate | None, Help("peak learning rate (default: by model and optimizer)")] = None
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1), Help("share of a label that is spread over all classes, in training")
    ] = 0.0
    target_accuracy: Annotated[
        Share | None, Help("stop after the first epoch whose test accuracy, 0 to 1, reaches it")
    ] = None
    optimizer: Annotated[Literal["adamw", "sgd", "task"], Help("optimizer; task: the task's own")] = "adamw"
    schedule: Annotated[
        Literal["one-cycle", "cosine", "constant", "task"],
        Help("learning rate over the run; one-cycle also cycles momentum, as torch's OneCycleLR; task: the task's own"),
    ] = "one-cycle"
    warmup: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Help("share of the steps in which the rate rises (default: 0.3 of one-cycle, otherwise 0)"),
    ] = None
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "fp64"],
        Help("bf16 and fp16 are autocast, fp16 with a scaled loss; fp64 is for proofs"),
    ] = "fp32"
    channels_last: Annotated[bool, Help("memory layout of convolution weights")] = True
    sync_batchnorm: Annotated[
        bool, Help("GPUs only: batch norm looks at the batch of all ranks, and not at each rank's part of it")
    ] = False
    device: Annotated[Literal["auto", "cpu", "cuda"], Help("where to train; auto takes CUDA when there is a GPU")] = (
        "auto"
    )
