"""Make or complete .venv so that a person can watch, then start the program in it.

python -m ddpbench.setup.install WORDS OF launch.sh...

launch.sh starts it when no Python that it may use has every package. Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from ddpbench import errors
from ddpbench.errors import UserError
from ddpbench.setup import needs, packages, venv

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(UserError):  # noqa: N818 - no error of the user's
    """A signal ended the set-up."""

    def __init__(self, number: int) -> None:
        super().__init__("the set-up was interrupted; run the same command to go on with it")
        self.exit_code = 128 + number


def say(text: str) -> None:
    """Print a line for the person who waits."""
    print(f"launch.sh: {errors.one_line(text)}", file=sys.stderr, flush=True)


def set_up(environment: Mapping[str, str], *, dev: bool) -> None:
    """Install what .venv lacks; `dev`: the requirements of the tests too. One set-up of a checkout runs at a time.

    Raises UserError where .venv cannot be used, a disk has too little room, or an installer fails.
    """
    begin_s = time.monotonic()
    lock = lock_set_up()
    python = venv.inspect(venv.PYTHON)
    venv.require_usable(python, is_chosen=bool(environment.get("PYTHON")))
    everything = needs.required(needs.PROJECT.read_text(), dev=dev)
    was_interrupted = python is not None and clean_interrupted()
    missing = venv.missing(dev=dev) if python else everything
    if not missing and not was_interrupted:
        return  # another launch.sh has installed all of it, or .venv was made with the Python that PYTHON names
    settings = packages.pip_settings(environment, packages.pip_files(environment, venv.VENV))
    if ignored := sorted(packages.place_of(name, environment) for name in settings.keys() & packages.REDIRECTS):
        say(f"ignoring for the set-up: {', '.join(ignored)}")
    installer = packages.choose_installer(shutil.which("uv") or "", settings, environment)
    is_cpu = bool(missing) and announce(missing, installer, settings, environment)
    prepare(is_new=python is None, needs_pip=not installer.uv)
    # After an interruption an installed package may lack one that it needs, so the installer looks at all of them.
    wanted = everything if was_interrupted else missing
    variables = packages.installer_environment(settings, environment)
    for command in packages.commands(installer.uv, venv.PYTHON, wanted, is_cpu=is_cpu, is_log=not is_terminal()):
        install(command, variables, lock, is_uv=bool(installer.uv))
    compile_packages(lock)
    if lacking := venv.missing(dev=dev):
        names = ", ".join(lacking)
        raise UserError(f"the installer reported no error, but .venv lacks {names}; remove {venv.VENV} and start again")
    venv.UNFINISHED.unlink()
    say(f"set up in {time.monotonic() - begin_s:.0f} s")


def clean_interrupted() -> bool:
    """Delete what an interrupted set-up left half installed. Returns whether a set-up was interrupted."""
    if not venv.UNFINISHED.exists():
        return False
    damaged = venv.delete_half_installed()
    say("going on with an interrupted set-up" + (f"; half installed: {', '.join(damaged)}" if damaged else ""))
    return True


def prepare(*, is_new: bool, needs_pip: bool) -> None:
    """Make .venv where it is new, mark it as unfinished, and install its pip where that is needed."""
    if is_new:
        broken = ", in place of one whose Python does not start" if venv.VENV.exists() else ""
        say(f"making .venv with Python {venv.dotted(sys.version_info[:3])}{broken}")
        venv.make()
    venv.UNFINISHED.touch()
    if needs_pip:
        venv.install_pip()


def is_terminal() -> bool:
    """Whether a person watches: the set-up prints on standard error."""
    return sys.stderr.isatty()


def announce(
    missing: list[str], installer: packages.Installer, settings: Mapping[str, str], environment: Mapping[str, str]
) -> bool:
    """Say what will be installed. Returns whether it is PyTorch's CPU build. Raises UserError where room is lacking."""
    names = packages.names(missing)
    say(f".venv needs {', '.join(names)}")
    is_cpu = choose_build(missing, installer, settings)
    is_cuda = platform.system() == "Linux" and not is_cpu
    download_mb, unpacked_mb = packages.size_mb(missing, cuda=is_cuda)
    free = packages.in_words(shutil.disk_usage(venv.HERE).free / 1e6)
    sizes = f"about {packages.in_words(download_mb)} to download, {packages.in_words(unpacked_mb)} unpacked"
    say(f"{sizes}; {free} are free" + (f"; {packages.MEASURED_TIME}" if is_cuda and "torch" in names else ""))
    require_room(download_mb, unpacked_mb, settings, environment)
    say(f"installing with {'uv' if installer.uv else 'pip'}" + (f": {installer.why}" if installer.why else ""))
    return is_cpu


def choose_build(missing: list[str], installer: packages.Installer, settings: Mapping[str, str]) -> bool:
    """Say where PyTorch comes from, and why. Returns whether it is the CPU build, from PyTorch's own index."""
    has_gpu = Path("/proc/driver/nvidia").exists() or bool(shutil.which("nvidia-smi"))
    torch = next((info.stem for info in venv.packages("torch-*")), "")
    if not packages.is_for_cpu(missing, torch, has_gpu=has_gpu, machine=(platform.system(), platform.machine())):
        return False
    if installer.source:
        say(f"packages come from your own sources ({installer.source}), not from PyTorch's index of CPU builds")
        return False
    if problem := packages.index_problem(packages.CPU_INDEX, settings.get("proxy", "")):
        say(f"no NVIDIA GPU, but PyTorch's index of CPU builds cannot be used ({problem}): taking the CUDA build")
        return False
    say(f"no NVIDIA GPU: taking PyTorch's CPU build (PIP_INDEX_URL={packages.ORDINARY_INDEX} takes the CUDA build)")
    return True


def require_room(
    download_mb: int, unpacked_mb: int, settings: Mapping[str, str], environment: Mapping[str, str]
) -> None:
    """Raise UserError where a disk has too little room. A download lies in the cache and in a temporary folder."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "/", ".cache"))
    cache = [] if "no-cache-dir" in settings else [(Path(settings.get("cache-dir") or home), download_mb)]
    uses = [(Path(os.path.realpath(venv.VENV)), unpacked_mb), (Path(tempfile.gettempdir()), download_mb), *cache]
    if problem := packages.shortage(uses):
        raise UserError(f"{problem}; make room, or use another disk with TMPDIR and PIP_CACHE_DIR")


def install(command: list[str], environment: Mapping[str, str], lock: int, *, is_uv: bool) -> None:
    """Run pip or uv: on a terminal with its own progress, in a log with one line for each package, and its errors.

    The installer inherits the open file `lock`: should this process be killed, no other set-up starts beside it. It has
    a session of its own, so that a Ctrl-C reaches it only once: from this process. Raises UserError where it fails.
    """
    output = sys.stderr if is_terminal() else subprocess.PIPE
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        process = subprocess.Popen(
            command,
            cwd=venv.HERE,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints if not is_uv else sys.stderr if is_terminal() else subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=[lock] if lock >= 0 else [],
        )
        try:
            lines = copied(process.stdout or (), complaints) if is_uv else process.stdout or ()
            for line in packages.summary(lines):
                print(f"  {errors.one_line(line)}", file=sys.stderr, flush=True)
            code = process.wait()
        except BaseException:
            interrupt_or_kill(process)
            raise
        complaints.seek(0)
        sys.stderr.writelines(line for line in complaints if code or line.startswith("ERROR"))
    if code:
        name = "uv" if is_uv else "pip"
        killed = f"was killed by signal {-code}" + (" (often: out of memory)" if code == -signal.SIGKILL else "")
        what = f"{name} {killed}" if code < 0 else f"{name} failed, see above"
        index = f"set PIP_INDEX_URL={packages.ORDINARY_INDEX} to leave out PyTorch's own index, "
        cure = f"run the same command to try again, {index * (packages.CPU_INDEX in command)}or name another Python"
        raise UserError(f"{what}; {cure} with PYTHON=")


def compile_packages(lock: int) -> None:
    """Translate all packages to bytecode on every core. pip would do it on one, which takes it longer than unpacking.

    Where this fails, Python does it later, when a package is first imported.
    """
    say("compiling them")
    code = "import compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2, workers=0)"
    process = subprocess.Popen(
        [venv.PYTHON, "-c", code, venv.VENV / "lib"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        pass_fds=[lock] if lock >= 0 else [],
    )
    try:
        process.wait()
    except BaseException:
        interrupt_or_kill(process)
        raise


def copied(lines: Iterable[str], file: IO[str]) -> Iterator[str]:
    """Yield lines, and write them to a file: uv prints errors and progress on one stream."""
    for line in lines:
        file.write(line)
        yield line


def interrupt_or_kill(process: subprocess.Popen[str], within_s: float = 10.0) -> None:
    """Interrupt an installer, which then removes its temporary files; kill it where it does not end in time."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(within_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def lock_set_up() -> int:
    """Wait until no other set-up of this checkout runs. Returns the open file that is locked; -1 without locks."""
    descriptor = os.open(needs.PROJECT, os.O_RDWR if os.access(needs.PROJECT, os.W_OK) else os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another launch.sh is setting up .venv; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # this file system has none
        return -1
    return descriptor


def raise_interrupted(number: int, _frame: object) -> None:
    """Handle a signal: end the set-up."""
    raise Interrupted(number)


def main(words: list[str]) -> None:
    """Set up, then replace this process by the program. Raises UserError where the set-up fails."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup lets a process ignore SIGHUP
            signal.signal(number, raise_interrupted)
    try:
        set_up(os.environ, dev=words[:1] == ["test"])
    except OSError as problem:
        raise UserError(f"the set-up failed: {problem}; run the same command to try again") from problem
    os.execv(venv.PYTHON, [str(venv.PYTHON), "-m", "ddpbench", *words])


if __name__ == "__main__":
    errors.run(lambda: main(sys.argv[1:]), name="launch.sh")
