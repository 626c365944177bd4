"""docs/hosts.md and the files beside it say what the program does."""

import re
import subprocess
import sys
from pathlib import Path

from ddpbench.errors import Preempted
from ddpbench.hosts import joining, place
from ddpbench.study import lead
from tests.conftest import PROJECT

PAGE = (PROJECT / "docs/hosts.md").read_text()
FOLDER = PROJECT / "docs/hosts"
SYSTEMS = PAGE.partition("| what says so")[2].partition("\n\n")[0]


def test_the_page_has_every_variable_and_flag_that_says_where_a_host_is_and_no_other() -> None:
    said = {*re.findall(r"`([^`]+)`", SYSTEMS)} - {"srun"}

    assert said == place.names() | {*place.FLAGS}


def test_the_page_has_the_ports_the_times_and_the_secret_as_they_are() -> None:
    text = " ".join(PAGE.split())

    assert f"port {place.DEFAULT_PORT} of host 0" in text
    assert f"{place.SLURM_PORTS} + the last four digits" in text
    assert f"save within {lead.SAVE_S + lead.GOODBYE_S:.0f} s" in text
    assert f"{joining.LEAST_CHARACTERS} characters or more" in text
    assert f"port: int = {place.DEFAULT_PORT}" in (FOLDER / "component.py").read_text()


def test_every_file_to_copy_is_on_the_page_and_every_code_is_the_one_that_is_used() -> None:
    linked = {*re.findall(r"\(hosts/([\w.]+)\)", PAGE)} | {*re.findall(r"docs/hosts/([\w.]+)", PAGE)}
    code = Preempted.exit_code

    assert linked == {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert f"${{EXIT_AGAIN:-{code}}}" in (FOLDER / "slurm.sh").read_text()
    for line in (
        f"RequeueExit={code}",
        f"values: [{code}]",
        f"recover_on_exit_codes: [{code}]",
        f'"onExitCode": "{code}"',
    ):
        assert line in PAGE


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    paths = sorted(FOLDER.glob("*.sh"))
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([checker, *paths], capture_output=True, text=True, check=False)

    assert len(paths) == 2
    assert done.returncode == 0, done.stdout + done.stderr
