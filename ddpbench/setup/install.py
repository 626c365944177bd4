"""Make or complete .venv so that a person can watch, then start the program in it.

python -m ddpbench.setup.install WORDS OF launch.sh...

launch.sh comes here when no Python that it may use has everything. Standard library only: nothing is installed yet.
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


class Stopped(UserError):  # noqa: N818 - nothing went wrong
    """A signal ended the set-up."""

    def __init__(self, number: int) -> None:
        super().__init__("the set-up was interrupted; the same command goes on with it")
        self.exit_code = 128 + number


def say(text: str) -> None:
    """Tell the person who waits."""
    print(f"launch.sh: {errors.one_line(text)}", file=sys.stderr, flush=True)


def set_up(words: list[str], environment: Mapping[str, str]) -> None:
    """Bring .venv to where it meets every requirement. `words`: ["dev"] for those of the tests too."""
    began_s = time.monotonic()
    lock = take_turns()
    found = venv.look_at(venv.PYTHON)
    venv.refuse_what_is_not_ours(found, is_chosen=bool(environment.get("PYTHON")))
    everything = needs.required(needs.PROJECT.read_text(), dev=bool(words))
    was_interrupted = bool(found) and take_up()
    missing = venv.lacking(words) if found else everything
    if not missing and not was_interrupted:
        return  # another launch.sh has done it, or PYTHON is what .venv was made with
    settings = packages.pip_settings(environment, packages.pip_files(environment, venv.VENV))
    installer = packages.choose_installer(shutil.which("uv") or "", settings, environment)
    is_cpu = announce(missing, installer, settings, environment)
    prepare(is_new=not found, is_uv=bool(installer.uv))
    # After an interruption any package may lack one that it needs, so the installer looks at all of them.
    wanted = everything if was_interrupted else missing
    own = packages.own_environment(settings, environment)
    for command in packages.commands(installer.uv, venv.PYTHON, wanted, is_cpu=is_cpu, is_log=not is_terminal()):
        install(command, own, lock, is_uv=bool(installer.uv))
    if still := venv.lacking(words):
        raise UserError(f"the installer reported no error, but .venv still lacks {', '.join(still)}")
    venv.MARK.unlink()
    say(f"set up in {time.monotonic() - began_s:.0f} s")


def take_up() -> bool:
    """Clear away what an interrupted set-up left half installed. Returns whether there was one."""
    if not venv.MARK.exists():
        return False
    torn = venv.forget_half_installed()
    say("going on with an interrupted set-up" + (f"; half installed were {', '.join(torn)}" if torn else ""))
    return True


def prepare(*, is_new: bool, is_uv: bool) -> None:
    """Make .venv, or let it count as unfinished from here on, and see to its pip."""
    if is_new:
        broken = ", in place of one whose Python does not start" if venv.VENV.exists() else ""
        say(f"making .venv with Python {venv.dotted(sys.version_info[:3])}{broken}")
        venv.make()
    venv.MARK.touch()
    if not is_uv:
        venv.bring_pip()


def is_terminal() -> bool:
    """Whether a person watches: the set-up speaks on standard error."""
    return sys.stderr.isatty()


def announce(
    missing: list[str], installer: packages.Installer, settings: Mapping[str, str], environment: Mapping[str, str]
) -> bool:
    """Say what will be done, and refuse what the disk cannot take. Returns whether PyTorch's CPU build is taken."""
    ignored = sorted(packages.named(name, environment) for name in settings.keys() & packages.REDIRECTS)
    if ignored:
        say(f"ignoring for the set-up: {', '.join(ignored)}")
    if not missing:
        return False
    say(f".venv needs {', '.join(packages.names(missing))}")
    is_cpu = choose_build(missing, installer, settings)
    is_cuda = platform.system() == "Linux" and not is_cpu
    down_mb, unpacked_mb = packages.size_mb(missing, cuda=is_cuda)
    free = packages.in_words(shutil.disk_usage(venv.HERE).free / 1e6)
    sizes = f"about {packages.in_words(down_mb)} to download, {packages.in_words(unpacked_mb)} unpacked"
    say(f"{sizes}; {free} are free" + (f"; {packages.TOOK}" if is_cuda and "torch" in packages.names(missing) else ""))
    refuse_a_full_disk(down_mb, unpacked_mb, settings, environment)
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
    if silence := packages.silence_of(packages.CPU_INDEX, settings.get("proxy", "")):
        say(f"no NVIDIA GPU, but PyTorch's index of CPU builds cannot be used ({silence}): taking the CUDA build")
        return False
    say(f"no NVIDIA GPU: taking PyTorch's CPU build (PIP_INDEX_URL={packages.ORDINARY_INDEX} takes the CUDA build)")
    return True


def refuse_a_full_disk(
    down_mb: int, unpacked_mb: int, settings: Mapping[str, str], environment: Mapping[str, str]
) -> None:
    """Raise where a folder has too little room for what lands there. Downloads lie in two places for a while."""
    home = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "/", ".cache"))
    cache = [] if "no-cache-dir" in settings else [(Path(settings.get("cache-dir") or home), down_mb)]
    uses = [(venv.VENV.resolve(), unpacked_mb), (Path(tempfile.gettempdir()), down_mb), *cache]
    if problem := packages.shortage(uses):
        raise UserError(f"{problem}; make room, or use another disk with TMPDIR and PIP_CACHE_DIR")


def install(command: list[str], environment: Mapping[str, str], lock: int, *, is_uv: bool) -> None:
    """Run pip or uv: on a terminal with its own progress, in a log with a line a package, and its errors.

    It holds the lock too, should we be killed. It gets no signal from the terminal: we send it one, and only one.
    """
    out = sys.stderr if is_terminal() else subprocess.PIPE
    with tempfile.TemporaryFile("w+", errors="replace") as complaints:
        process = subprocess.Popen(
            command,
            cwd=venv.HERE,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=complaints if not is_uv else sys.stderr if is_terminal() else subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=[lock] if lock >= 0 else [],
        )
        try:
            lines = written_down(process.stdout or (), complaints) if is_uv else process.stdout or ()
            for line in packages.lines(lines):
                print(f"  {errors.one_line(line)}", file=sys.stderr, flush=True)
            code = process.wait()
        except BaseException:
            end(process)
            raise
        complaints.seek(0)
        sys.stderr.writelines(line for line in complaints if code or line.startswith("ERROR"))
    if code:
        name = "uv" if is_uv else "pip"
        ended = (
            f"{name} failed, see above" if code > 0 else f"{name} was killed by signal {-code} (9: often out of memory)"
        )
        cure = f"PIP_INDEX_URL={packages.ORDINARY_INDEX} leaves that index out, " * (packages.CPU_INDEX in command)
        raise UserError(f"{ended}; {cure}PYTHON= takes another Python, the same command tries again")


def written_down(lines: Iterable[str], file: IO[str]) -> Iterator[str]:
    """Pass lines on, and keep them for the case that the command fails: uv says all on one stream."""
    for line in lines:
        file.write(line)
        yield line


def end(process: subprocess.Popen[str], within_s: float = 10.0) -> None:
    """Interrupt an installer, which then removes its temporary files; kill it where it does not end."""
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


def take_turns() -> int:
    """Wait until no other set-up of this checkout runs. Returns the open file that holds the lock; -1 without locks."""
    held = os.open(needs.PROJECT, os.O_RDWR if os.access(needs.PROJECT, os.W_OK) else os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another launch.sh is setting up .venv; waiting for it")
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError:  # this file system has none
        return -1
    return held


def stop(number: int, _frame: object) -> None:
    """End the set-up at a signal."""
    raise Stopped(number)


def main(words: list[str]) -> None:
    """Set up, then become the program."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, stop)
    try:
        set_up(["dev"] if words[:1] == ["test"] else [], os.environ)
    except OSError as problem:
        raise UserError(f"the set-up failed: {problem}; the same command tries again") from problem
    os.execv(venv.PYTHON, [str(venv.PYTHON), "-m", "ddpbench", *words])


if __name__ == "__main__":
    errors.run(lambda: main(sys.argv[1:]), name="launch.sh")
