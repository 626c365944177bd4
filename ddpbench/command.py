"""How a person starts this program here, and where its scripts lie: in a checkout, or in an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "scripts"  # only a wheel has it: pyproject.toml puts the scripts of a checkout there
# It is looked at first: beside an installed package there may be a compare.py of somebody else.
IS_INSTALLED = (_INSTALLED / "compare.py").is_file()
SCRIPTS = _INSTALLED if IS_INSTALLED else _PACKAGE.parent

COMMAND = "ddpbench" if IS_INSTALLED else "bash launch.sh"
NAME = COMMAND.removeprefix("bash ")  # our messages begin with it
COMPARE = "ddpbench compare" if IS_INSTALLED else "python compare.py"
COMPARE_NAME = COMPARE.removeprefix("python ")
ALONE = "ddpbench run" if IS_INSTALLED else "python baseline_train.py"


def on_ranks(ranks: int, hosts: int = 1) -> str:
    """Return the words that train on so many ranks. On several hosts each has so many, and starts them itself."""
    if IS_INSTALLED:
        return f"ddpbench run --ranks {ranks}"
    place = f"--nnodes={hosts} --node-rank=K --master-addr=HOST_0 " if hosts > 1 else ""
    return f"torchrun {place}--nproc_per_node={ranks} ddp_train.py"
