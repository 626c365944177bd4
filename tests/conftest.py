"""What all tests share: which run, side by side or alone, what the terminal shows of that, and how scripts are run."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ddpbench.environment import usable_cores
from tests.terminal import Terminal

PROJECT = Path(__file__).parent.parent
# The words before a command that give it one core.
ONE_CORE = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "0")
MOST_WORKERS = 4  # a test that starts processes fills a core or two by itself
# The files that take longest, first: a worker runs a whole file, and none is to be left with a long one at the end.
LONGEST = ("launch", "slurm", "stops", "ranks", "scripts", "security", "disk", "html", "install", "equivalence")
MEASURING = "attribution"  # the file whose tests measure time: it runs last, while no other test does


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, for all that tests start too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:  # the workers of pytest-xdist have none
        config.pluginmanager.register(Terminal(config, reporter))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run tests side by side; 0: this one runs them. A few tests are not worth workers."""
    is_few = any("::" in word or word.endswith(".py") for word in config.args)
    return 0 if is_few else min(usable_cores(), MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)  # -m looks at the marks after this
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run here or was not asked for: long tests run by -m, or by name. Those with scripts are slow."""
    asked = "long" in config.option.markexpr or any("::" in word for word in config.args)
    for item in items:
        if "run_script" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("gpu") and not has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))
        if item.get_closest_marker("long") and not asked:
            item.add_marker(pytest.mark.skip(reason="long: bash launch.sh test -m long"))
    items.sort(key=turn)


def topic(item: pytest.Item) -> str:
    """Return what the file of a test is about."""
    return item.path.stem.removeprefix("test_")


def turn(item: pytest.Item) -> int:
    """Return how early the file of a test is run."""
    order = (*LONGEST, "any other", MEASURING)
    return order.index(topic(item) if topic(item) in order else "any other")


def has_gpu() -> bool:
    import torch  # takes 2 s, so only where a test needs the answer

    return torch.cuda.is_available()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let a test that measures time run while no worker runs another one. This file is what they lock."""
    with Path(__file__).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX if topic(item) == MEASURING else fcntl.LOCK_SH)
        return (yield)


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in the project's folder; what it says is captured, and no OMP setting leaks in."""

    def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        here = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        here["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{here['PATH']}"
        return subprocess.run(
            [str(word) for word in command],
            cwd=PROJECT,
            env=here | (env or {}),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run


@pytest.fixture
def one_thread() -> object:
    """Train on one thread, as a rank of a two-core machine does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
