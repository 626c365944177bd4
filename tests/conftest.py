"""What all tests share: the records they judge, and GPU tests that are named when they do not run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).parent.parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """GPU tests need a GPU. Long ones run when they are asked for: by -m, or by name."""
    asked = "long" in config.option.markexpr or any("::" in word for word in config.args)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA GPU"))
        if item.get_closest_marker("long") and not asked:
            item.add_marker(pytest.mark.skip(reason="long: bash launch.sh test -m long"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that did not run: a skip that nobody sees is a hole."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"not run: {report.nodeid} ({report.longrepr[2].removeprefix('Skipped: ')})")


@pytest.fixture
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
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
