"""Set-up on a fresh machine: which Python, which installer, from where; and what a person sees of it."""

import atexit
import base64
import fcntl
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ddpbench.errors import UserError
from ddpbench.setup import install, needs, packages, venv
from tests.conftest import PROJECT

LINUX = ("Linux", "x86_64")
MAIN = """\
import os, sys
print(*sys.argv[1:], sep="|")
print(sys.executable, sys.flags.optimize, sys.warnoptions)
print(*sorted(name for name in os.environ if name.startswith("PYTHON") and name != "PYTHONPATH"))
"""


# Decisions


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        ({}, {}, ("/uv", "", "")),
        ({"no-input": "1", "user": "1"}, {"PIP_NO_INPUT": "1"}, ("/uv", "", "")),
        ({}, {"UV_INDEX": "https://mirror"}, ("/uv", "", "UV_INDEX")),
        ({}, {"UV_CONFIG_FILE": os.devnull}, ("/uv", "", os.devnull)),
        ({"cert": "/ca"}, {"PIP_CERT": "/ca"}, ("", "uv does not read PIP_CERT", "")),
        (
            {"index-url": "https://u:secret@m"},
            {},
            ("", "uv does not read index-url in pip.conf", "index-url in pip.conf"),
        ),
        ({"find-links": "/w"}, {"PIP_FIND_LINKS": "/w"}, ("", "uv does not read PIP_FIND_LINKS", "PIP_FIND_LINKS")),
        ({}, {"UV_OFFLINE": "1"}, ("", "UV_OFFLINE is set", "")),
    ],
)
def test_uv_is_taken_where_it_would_do_what_the_user_has_told_pip(
    settings: dict[str, str], environment: dict[str, str], expected: tuple[str, str, str], tmp_path: Path
) -> None:
    environment = environment | {"HOME": str(tmp_path)}

    assert packages.choose_installer("/uv", settings, environment) == expected
    assert packages.choose_installer("", settings, environment)[:2] == ("", "")


def test_settings_of_pip_are_those_of_its_files_and_variables(tmp_path: Path) -> None:
    first, second, torn = (tmp_path / name for name in ("first", "second", "torn"))
    first.write_text("[global]\nindex_url = https://first\ncert = /ca\n[download]\nno-index = 1\n")
    second.write_text("[global]\nindex-url = https://second\n[install]\nuser = yes\n")
    torn.write_text("index-url = nowhere\n")
    environment = {"PIP_CERT": "/other", "PIP_TARGET": "", "PIPX_HOME": "/x", "HOME": "/h"}

    assert packages.pip_settings(environment, [first, tmp_path / "missing", second, torn]) == {
        "index-url": "https://second",
        "cert": "/other",
        "user": "yes",
    }


def test_files_of_pip_are_found_where_pip_looks(tmp_path: Path) -> None:
    environment = {"HOME": "/h", "XDG_CONFIG_DIRS": "/a:/b", "PIP_CONFIG_FILE": "/mine"}
    files = [str(path) for path in packages.pip_files(environment, tmp_path)]

    assert {"/a/pip/pip.conf", "/b/pip/pip.conf", "/etc/pip.conf", "/h/.pip/pip.conf", "/h/.config/pip/pip.conf"} < {
        *files
    }
    assert files[-2:] == [str(tmp_path / "pip.conf"), "/mine"]
    assert packages.pip_files({"PIP_CONFIG_FILE": os.devnull}, tmp_path) == []


def test_no_setting_leads_packages_elsewhere() -> None:
    environment = {"PIP_USER": "1", "PIP_TARGET": "/t", "PIP_NO_DEPS": "1", "PIP_CERT": "/ca", "HOME": "/h"}
    settings = {"user": "1", "target": "/t", "no-deps": "1", "cert": "/ca"}

    assert packages.installer_environment(settings, environment) == {"PIP_CERT": "/ca", "HOME": "/h"}


def test_a_pip_conf_that_leads_packages_elsewhere_keeps_its_other_lines() -> None:
    """No variable undoes a line of it, so pip gets the others as variables, and no file."""
    settings = {"target": "/t", "extra-index-url": "https://a\nhttps://b"}

    assert packages.installer_environment(settings, {}) == {
        "PIP_EXTRA_INDEX_URL": "https://a\nhttps://b",
        "PIP_CONFIG_FILE": os.devnull,
    }


@pytest.mark.parametrize(
    ("missing", "torch", "has_gpu", "machine", "expected"),
    [
        (["torch>=2.10", "scipy>=1.13"], "", False, LINUX, True),
        (["torch>=2.10"], "", True, LINUX, False),
        (["torch>=2.10"], "", False, ("Darwin", "arm64"), False),
        (["torch>=2.10"], "", False, ("Linux", "aarch64"), False),
        (["scipy>=1.13"], "", False, LINUX, False),
        (["torchvision>=0.25"], "torch-2.14.1+cpu", True, LINUX, True),
        (["torchvision>=0.25"], "torch-2.14.1", False, LINUX, False),
    ],
)
def test_the_cpu_build_is_for_machines_without_a_gpu_and_never_mixed_with_another(
    missing: list[str], torch: str, has_gpu: bool, machine: tuple[str, str], expected: bool
) -> None:
    assert packages.is_for_cpu(missing, torch, has_gpu=has_gpu, machine=machine) is expected


def test_sizes_are_those_of_what_is_missing() -> None:
    down, unpacked = packages.size_mb(["torch>=2.10", "scipy>=1.13"], cuda=True)

    assert (packages.in_words(down), packages.in_words(unpacked)) == ("3.1 GB", "6.0 GB")
    assert packages.size_mb(["torch>=2.10"], cuda=False) == packages.CPU_TORCH_MB
    assert packages.size_mb(["tqdm>=4.66", "psutil>=6.0"], cuda=True) == (2, 8)


def test_every_size_is_of_a_requirement() -> None:
    required = packages.names(needs.required(needs.PROJECT.read_text(), dev=True))

    assert packages.SIZES_MB.keys() <= {*required}


def test_folders_that_share_a_disk_share_its_room(tmp_path: Path) -> None:
    free_mb = int(shutil.disk_usage(tmp_path).free / 1e6)
    part = free_mb * 2 // 3

    assert packages.shortage([(tmp_path / "not" / "there", part)]) == ""
    message = packages.shortage([(tmp_path / "not" / "there", part), (tmp_path, part)])
    assert message.startswith(f"{tmp_path} has ")
    assert f"needs about {packages.in_words(2 * part)} there" in message


def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "shortage", lambda uses: str([(str(path), size) for path, size in uses]))
    monkeypatch.setattr(install.tempfile, "gettempdir", lambda: "/t")
    where = str(venv.VENV.resolve())

    with pytest.raises(UserError, match="make room") as refused:
        install.require_room(3, 6, {}, {"HOME": "/h"})
    assert str([(where, 6), ("/t", 3), ("/h/.cache", 3)]) in str(refused.value)
    with pytest.raises(UserError) as refused:
        install.require_room(3, 6, {"no-cache-dir": "1"}, {"HOME": "/h"})
    assert str([(where, 6), ("/t", 3)]) in str(refused.value)


def test_pytorch_s_index_is_asked_for_pytorch_alone() -> None:
    wanted = ["torch>=2.10", "torchvision>=0.25", "scipy>=1.13"]
    both = packages.commands("", Path("/p"), wanted, is_cpu=True, is_log=True)
    one = packages.commands("/uv", Path("/p"), wanted, is_cpu=False, is_log=False)

    assert [call[-4:] for call in both[:1]] == [["--index-url", packages.CPU_INDEX, *wanted[:2]]]
    assert both[1][-1] == "scipy>=1.13"
    assert packages.CPU_INDEX not in both[1]
    assert one == [["/uv", "pip", "install", "--python", "/p", *wanted]]
    assert len(packages.commands("", Path("/p"), wanted[:2], is_cpu=True, is_log=True)) == 1


def test_a_log_has_one_line_a_package() -> None:
    pip = """\
    Looking in links: /opt/wheels
    Collecting torch>=2.10
      Obtaining dependency information for torch>=2.10 from https://files/torch.whl.metadata
      Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (28 kB)
      Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (554.6 MB)
      Using cached nvidia_cublas-13.1.1.3-py3-none-any.whl (423.1 MB)
      Downloading https://user:secret@host/whl/torch-2.14.1%2Bcpu-cp311-cp311-linux_x86_64.whl (192 MB)
    Processing /opt/wheels/a_b-1.0-py3-none-any.whl
      Downloading some-old-thing-1.2.tar.gz (3 kB)
    Requirement already satisfied: tqdm in /x
    Installing collected packages: torch, a-b
    Successfully installed torch-2.14.1
    """
    uv = "Resolved 2 packages\nDownloading scipy (33.7MiB)\n Downloaded scipy\n + scipy==1.17.1\n + tqdm==4.70.1\n"

    assert [*packages.summary(textwrap.dedent(pip).splitlines(keepends=True))] == [
        "torch 2.14.1, 554.6 MB",
        "nvidia-cublas 13.1.1.3, 423.1 MB",
        "torch 2.14.1+cpu, 192 MB",
        "a-b 1.0",
        "some-old-thing 1.2, 3 kB",
        "unpacking them",
    ]
    assert [*packages.summary(uv.splitlines(keepends=True))] == ["scipy 1.17.1, 33.7MiB", "tqdm 4.70.1"]


def test_a_package_is_whole_when_every_file_has_its_size(tmp_path: Path) -> None:
    info = tmp_path / "a-1.dist-info"
    info.mkdir()
    (tmp_path / "a.py").write_text("pass\n")

    assert not venv.is_whole(info), "without a RECORD"
    (info / "RECORD").write_text("a.py,sha256=x,5\na-1.dist-info/RECORD,,\n__pycache__/a.pyc,,\n")
    assert venv.is_whole(info)
    (tmp_path / "a.py").write_text("")
    assert not venv.is_whole(info), "a file is empty, as after a power cut"
    (tmp_path / "a.py").unlink()
    assert not venv.is_whole(info), "a file is gone"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Serve the folder `served` on loopback. Returns its address."""
    (tmp_path / "served").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *rest: object) -> None:
            super().__init__(*rest, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *rest: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_index_that_does_not_answer_is_given_up_with_its_reason(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "torch").mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert packages.index_problem(index) == ""
    assert "HTTP Error 404" in packages.index_problem(f"{index}/elsewhere")
    assert "refused" in packages.index_problem("http://127.0.0.1:9")
    assert "refused" in packages.index_problem("http://no-such-host.invalid", proxy="http://127.0.0.1:9")
    assert packages.index_problem("not a URL") != ""


def test_an_index_that_hangs_is_waited_for_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up of a name obeys no time-out of a socket."""
    is_over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        is_over.wait(20)
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", hang)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)

    assert packages.index_problem("http://host.invalid", within_s=0.05) == "no answer within 0.05 s"
    is_over.set()


def test_set_up_needs_the_standard_library_alone() -> None:
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import ddpbench.setup.install"

    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0


def test_launch_sh_is_short_and_every_text_keeps_its_line_ends(tmp_path: Path) -> None:
    """A shell cannot read CRLF, which git writes on a machine where core.autocrlf says so."""
    for name in ("launch.sh", ".ci/run", ".gitattributes", "compare.py"):
        (tmp_path / "origin" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / "origin" / name)
    (tmp_path / "origin" / "a.png").write_bytes(b"\r\n\0\n")
    crlf = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init"], [*crlf, "add", "."], [*author, "commit", "--no-verify", "-m", "a"]):
        subprocess.run(["git", "-C", tmp_path / "origin", *words], check=True, capture_output=True)
    subprocess.run(["git", *crlf, "clone", "-q", tmp_path / "origin", tmp_path / "clone"], check=True)

    for path in ("launch.sh", ".ci/run", "compare.py"):
        assert b"\r" not in (tmp_path / "clone" / path).read_bytes(), path
    assert (tmp_path / "clone" / "a.png").read_bytes() == b"\r\n\0\n"
    assert len((PROJECT / "launch.sh").read_text().splitlines()) <= 45


# launch.sh among made-up Pythons


def checkout(place: Path, requirement: str = "pytest>=1") -> Path:
    """Copy what set-up consists of, with a stand-in for the program and one requirement."""
    shutil.copytree(PROJECT / "ddpbench/setup", place / "ddpbench/setup")
    shutil.copy(PROJECT / "launch.sh", place)
    for name in ("__init__", "errors", "words"):
        shutil.copy(PROJECT / "ddpbench" / f"{name}.py", place / "ddpbench")
    (place / "ddpbench" / "__main__.py").write_text(MAIN)
    (place / "ddpbench" / "help.txt").write_text("the help page\n")
    (place / "pyproject.toml").write_text(
        f'dependencies = [\n    "{requirement}",\n]\ndev = [\n    "ddpbenchtiny>=1.0",\n]\n'
    )
    return place


def program(path: Path, text: str) -> Path:
    """Write something to run."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python(path: Path, minor: int, *, is_complete: bool = False) -> Path:
    """Write a Python that knows its version, whether it has all, and its name."""
    answer = f"""case $1$2 in
      -c*) echo {3000 + minor} ;;
      -mddpbench.setup.needs) exit {0 if is_complete else 3} ;;
      *) echo {path.name} "$@" ;;
    esac"""
    return program(path, answer)


def launch(
    place: Path, *words: str | Path, shell: str = "/bin/sh", path: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run launch.sh of a checkout with no variables but these."""
    command = [shell, str(place / "launch.sh"), *map(str, words)]
    variables = {"PATH": path, "HOME": str(place.parent), "PYTHONDONTWRITEBYTECODE": "1"} | env
    return subprocess.run(
        command, env=variables, cwd=place.parent, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("shell", [shell for shell in ("dash", "bash", "sh") if shutil.which(shell)])
@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": 9, "python3.11": 11, "python3.12": 12}, "python3.12"),
        ({"python3": 13, "python3.12": 12, "python3.13": 13}, "python3"),
        ({"python3": 10, "python": 11}, "python"),
        ({"python3": 9, "python3.20": 20}, "python3.20"),
        ({"python": 10}, "python"),
    ],
    ids=str,
)
def test_the_newest_python_makes_the_environment(
    pythons: dict[str, int], taken: str, shell: str, tmp_path: Path
) -> None:
    place = checkout(tmp_path / "here")
    for name, minor in pythons.items():
        python(tmp_path / "bin" / name, minor)
    done = launch(place, "--epochs", "1 2", shell=shutil.which(shell) or "", path=str(tmp_path / "bin"))

    assert (done.stdout, done.stderr) == (f"{taken} -m ddpbench.setup.install --epochs 1 2\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pythons", "chosen", "message"),
    [
        ({"python3": 9, "python": 7}, "", "python3 is Python 3.9; Python 3.10 or later is needed"),
        ({}, "", "python3 does not start; Python 3.10 or later is needed"),
        (
            {"python3": 12, "python3.8": 8},
            "python3.8",
            "PYTHON=python3.8 is Python 3.8; Python 3.10 or later is needed",
        ),
        ({"python3": 12}, "python4", "PYTHON=python4 does not start; Python 3.10 or later is needed"),
        ({"python3": 12}, "here/launch.sh.txt", "launch.sh.txt does not start"),
        ({"python3": 12}, "a b", "PYTHON=a b does not start"),
    ],
    ids=str,
)
def test_without_a_python_there_is_one_line(pythons: dict[str, int], chosen: str, message: str, tmp_path: Path) -> None:
    place = checkout(tmp_path / "here")
    for name, minor in pythons.items():
        python(tmp_path / "bin" / name, minor)
    done = launch(place, path=str(tmp_path / "bin"), **({"PYTHON": chosen} if chosen else {}))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("launch.sh: ")
    assert message in done.stderr


@pytest.mark.slow
def test_a_complete_environment_is_used_as_it_is_and_a_named_one_before_it(tmp_path: Path) -> None:
    place = checkout(tmp_path / "here")
    path = str(tmp_path / "bin")
    python(tmp_path / "bin" / "python3", 11, is_complete=True)
    python(tmp_path / "bin" / "python3.12", 12)
    (place / ".venv").mkdir()
    python(place / ".venv" / "bin" / "python", 12, is_complete=True)
    relative = launch(place, "x", path=path, PYTHON="bin/python3.12")

    assert launch(place, "x", path=path).stdout == "python3 -m ddpbench x\n"
    assert launch(place, "x", path=path, PYTHON="python3.12").stdout == "python3.12 -m ddpbench.setup.install x\n"
    by_caller = "a relative PYTHON counts from the caller's folder"
    assert relative.stdout == "python3.12 -m ddpbench.setup.install x\n", by_caller
    python(tmp_path / "bin" / "python3", 11)
    assert launch(place, "x", path=path).stdout == "python -m ddpbench x\n"
    python(place / ".venv" / "bin" / "python", 10)
    assert launch(place, "x", path=path).stdout == "python -m ddpbench.setup.install x\n", "it completes itself"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["-h"], ["sweep", "--help"], ["test", "--epochs", "1", "-h"]], ids=str)
def test_help_needs_no_python(words: list[str], tmp_path: Path) -> None:
    place = checkout(tmp_path / "here")
    program(tmp_path / "bin" / "cat", 'exec /bin/cat "$@"')
    done = launch(place, *words, path=str(tmp_path / "bin"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "the help page\n", "")


@pytest.fixture
def real(tmp_path: Path) -> str:
    """Return a PATH on which python3 is the Python of these tests, which has pytest and no `ddpbenchtiny`."""
    program(tmp_path / "bin" / "python3", f'exec {sys.executable} "$@"')
    return f"{tmp_path / 'bin'}:{os.defpath}"


@pytest.mark.slow
def test_no_variable_of_a_shell_or_python_keeps_it_from_starting(real: str, tmp_path: Path) -> None:
    place = checkout(tmp_path / "here")
    variables = {
        "PYTHONSAFEPATH": "1",
        "PYTHONHOME": "/nowhere",
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONEXECUTABLE": "/nowhere/python",
        "PYTHONCASEOK": "1",
        "PYTHONINSPECT": "1",
        "PYTHONSTARTUP": "/nowhere",
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "CDPATH": "/:/tmp",
        "IFS": "n",
    }
    done = launch(place, "--lr", "a b", path=real, **variables)
    words, state, left = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert words == "--lr|a b"
    assert state.endswith(" 0 []")
    assert left == "PYTHONDONTWRITEBYTECODE"
    assert not (place / ".venv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["-a b  $(touch ran) * naïve ☃ back\\slash", "-", "*"])
def test_it_starts_from_a_folder_of_any_name(name: str, real: str, tmp_path: Path) -> None:
    place = checkout(tmp_path / name)
    env = {"PATH": real, "CDPATH": str(tmp_path), "LC_ALL": "C.UTF-8"}
    for where, script in ((tmp_path, f"./{name}/launch.sh"), (place, "launch.sh"), (tmp_path, f"{name}/launch.sh")):
        done = subprocess.run(
            ["/bin/sh", "--", script, "one"], cwd=where, env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith("one\n"), (script, done.stderr)
    assert not any(tmp_path.rglob("ran"))


# Set-up, for real: no package comes from outside this machine


def wheel(folder: Path, name: str, version: str, needs: str = "") -> Path:
    """Write a wheel with one module."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + needs,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for path, text in files.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return path


def with_cpu_index(place: Path, index: str) -> None:
    """Make a checkout look for CPU builds there, and see no GPU."""
    for name, old, new in (
        ("packages", packages.CPU_INDEX, index),
        ("install", "/proc/driver/nvidia", "/nowhere"),
        ("install", '"nvidia-smi"', '"no-such-program"'),
    ):
        path = place / "ddpbench/setup" / f"{name}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def bare_python(path: Path) -> None:
    """Write a Python that has no packages."""
    program(path, f'exec {sys._base_executable} -S "$@"')  # type: ignore[attr-defined]


def bare_venv(place: Path) -> Path:
    """Make an environment without pip, as uv does or an interrupted set-up leaves it. Returns its packages."""
    shutil.copytree(a_venv(), place / ".venv", symlinks=True)
    (site,) = (place / ".venv").glob("lib/python*/site-packages")
    return site


@cache
def a_venv() -> Path:
    """Make an environment once, for copies of it: it finds itself by where it lies."""
    folder = Path(tempfile.mkdtemp(prefix="ddpbench-venv-"))
    atexit.register(shutil.rmtree, folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    return folder / ".venv"


FAKE_PIP = """\
import json, os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["FAKE_PIP"])
pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
with (here / "calls").open("a") as file:
    print(json.dumps([sys.argv[1:], pip]), file=file)
print("WARNING: a line for nobody", file=sys.stderr)
if (here / "sleeps").exists():
    try:
        (here / "asleep.new").write_text(str(os.getpid()))
        (here / "asleep.new").rename(here / "asleep")
        time.sleep(60)
    except KeyboardInterrupt:
        (here / "interrupted").touch()
        sys.exit("ERROR: Operation cancelled by user")
if (here / "fails").exists():
    sys.exit("ERROR: No matching distribution found")
(site,) = pathlib.Path(sys.prefix).glob("lib/python*/site-packages")
for word in sys.argv[1:]:
    name, _, version = word.partition(">=")
    if version:
        time.sleep(float(os.environ.get("FAKE_PIP_S", "0")))
        print(f"  Downloading {name}-{version}-py3-none-any.whl (1 kB)")
        (site / f"{name}-{version}.dist-info").mkdir()
        (site / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\\nVersion: {version}\\n")
"""


class Stage:
    """A checkout with a .venv, and a pip that does what a test wants."""

    def __init__(self, place: Path, requirement: str = "ddpbenchtiny>=1.0") -> None:
        self.place = checkout(place / "here", requirement)
        self.site = bare_venv(self.place)
        (self.site / "pip-1.dist-info").mkdir()
        (self.site / "pip-1.dist-info" / "RECORD").write_text("pip-1.dist-info/RECORD,,\n")
        self.fake = place / "fake"
        (self.fake / "pip").mkdir(parents=True)
        (self.fake / "pip" / "__init__.py").touch()
        (self.fake / "pip" / "__main__.py").write_text(FAKE_PIP)
        self.path = f"{place / 'bin'}:{os.defpath}"
        bare_python(place / "bin" / "python3")
        self.env = {"PYTHONPATH": str(self.fake), "FAKE_PIP": str(self.fake)}

    def launch(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return launch(self.place, *words, path=self.path, **self.env | env)

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        variables = {"PATH": self.path, "HOME": str(self.place.parent)} | self.env | env
        command = ["/bin/sh", str(self.place / "launch.sh"), *words]
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def calls(self) -> list[tuple[list[str], dict[str, str]]]:
        return [json.loads(line) for line in (self.fake / "calls").read_text().splitlines()]

    def wait_for(self, name: str) -> None:
        until = time.monotonic() + 30
        while not (self.fake / name).exists():
            assert time.monotonic() < until, name
            time.sleep(0.02)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.slow
def test_what_is_missing_is_installed_and_a_log_says_so_in_a_few_lines(stage: Stage) -> None:
    done = stage.launch("--epochs", "1")
    lines = done.stderr.splitlines()

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"--epochs|1\n{stage.place}/.venv/bin/python")
    assert lines[0] == "launch.sh: .venv needs ddpbenchtiny"
    assert lines[1].startswith("launch.sh: about 1 MB to download, 4 MB unpacked; ")
    assert lines[2:5] == ["launch.sh: installing with pip", "  ddpbenchtiny 1.0, 1 kB", "launch.sh: compiling them"]
    assert lines[5].startswith("launch.sh: set up in ")
    assert len(lines) == 6
    assert stage.launch("again").stderr == "", "the next start finds all in place"


@pytest.mark.slow
def test_packages_are_compiled_and_one_that_cannot_be_is_no_error(stage: Stage) -> None:
    """PYTHONDONTWRITEBYTECODE may be set: an import would then translate every file again, in every process."""
    (stage.site / "whole.py").write_text("x = 1\n")
    (stage.site / "broken.py").write_text("x = = 1\n")

    assert stage.launch("x", PYTHONDONTWRITEBYTECODE="1").returncode == 0
    assert [path.name.split(".")[0] for path in (stage.site / "__pycache__").glob("*.pyc")] == ["whole"]
    assert all("--no-compile" in words for words, _ in stage.calls())


@pytest.mark.slow
def test_a_venv_that_is_a_link_to_itself_is_refused_in_one_line(stage: Stage) -> None:
    shutil.rmtree(stage.place / ".venv")
    (stage.place / ".venv").symlink_to(".venv")
    done = stage.launch("x")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ".venv" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_tests_need_the_requirements_of_development_too(stage: Stage) -> None:
    (stage.place / "pyproject.toml").write_text('dependencies = [\n "a>=1",\n]\ndev = [\n "b>=2",\n]\n')

    assert stage.launch("--lr", "1").returncode == 0
    assert stage.launch("test", "-x").stdout.startswith("test|-x\n")
    assert [words[-1] for words, _ in stage.calls()] == ["a>=1", "b>=2"]


@pytest.mark.slow
def test_settings_that_lead_packages_elsewhere_are_left_out_and_named_once(stage: Stage) -> None:
    (stage.place.parent / ".config" / "pip").mkdir(parents=True)
    (stage.place.parent / ".config" / "pip" / "pip.conf").write_text("[install]\nprefix = /p\n[global]\nretries = 7\n")
    done = stage.launch(PIP_USER="1", PIP_TARGET="/t", PIP_TIMEOUT="9", PIP_CONFIG_FILE="")
    ((_, settings),) = stage.calls()

    assert done.stderr.startswith("launch.sh: ignoring for the set-up: PIP_TARGET, PIP_USER, prefix in pip.conf\n")
    assert done.stderr.count("PIP_USER") == 1
    assert settings.items() >= {"PIP_TIMEOUT": "9", "PIP_RETRIES": "7", "PIP_CONFIG_FILE": os.devnull}.items()
    assert not settings.keys() & {"PIP_USER", "PIP_TARGET", "PIP_PREFIX"}


@pytest.mark.slow
def test_what_pip_says_is_shown_when_it_fails(stage: Stage) -> None:
    (stage.fake / "fails").touch()
    done = stage.launch()

    assert (done.returncode, done.stdout) == (2, "")
    assert "WARNING: a line for nobody\nERROR: No matching distribution found\nlaunch.sh: pip failed, " in done.stderr
    (stage.fake / "fails").unlink()
    assert stage.launch().returncode == 0


@pytest.mark.slow
def test_a_set_up_that_is_stopped_ends_in_a_line_and_is_gone_on_with(stage: Stage) -> None:
    (stage.fake / "sleeps").touch()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = stage.start("x")
        stage.wait_for("asleep")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)

        assert (process.returncode, out) == (128 + number, "")
        last = "launch.sh: the set-up was interrupted; run the same command to go on with it"
        assert err.splitlines()[-1] == last
        assert "Traceback" not in err
        assert "cancelled" not in err
        (stage.fake / "asleep").unlink()
        (stage.fake / "interrupted").unlink()  # pip has ended too, and could remove its temporary files
    (stage.fake / "sleeps").unlink()
    done = stage.launch("x")

    assert done.stderr.startswith("launch.sh: going on with an interrupted set-up")
    assert done.stdout.startswith("x\n")


@pytest.mark.slow
def test_a_package_that_was_left_half_installed_is_installed_again(stage: Stage) -> None:
    """Its metadata is there, and a version alone would be believed."""
    info = stage.site / "ddpbenchtiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: ddpbenchtiny\nVersion: 1.0\n")
    (stage.place / ".venv" / needs.UNFINISHED).touch()
    done = stage.launch("x")

    assert done.returncode == 0, done.stderr
    assert "going on with an interrupted set-up; half installed: ddpbenchtiny-1.0\n" in done.stderr
    assert [words[-1] for words, _ in stage.calls()] == ["ddpbenchtiny>=1.0"]
    assert not (stage.place / ".venv" / needs.UNFINISHED).exists()


@pytest.mark.slow
def test_of_two_set_ups_at_once_one_waits_and_then_finds_all_in_place(stage: Stage) -> None:
    both = [stage.start(word, FAKE_PIP_S="1.5") for word in ("one", "two")]
    ended = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert [out.splitlines()[0] for out, _ in ended] == ["one", "two"]
    assert [words[-1] for words, _ in stage.calls()] == ["ddpbenchtiny>=1.0"]
    waited = [err for _, err in ended if "another launch.sh is setting up .venv" in err]
    assert waited == ["launch.sh: another launch.sh is setting up .venv; waiting for it\n"]


@pytest.mark.slow
def test_an_installer_that_outlives_a_killed_set_up_keeps_its_turn(stage: Stage) -> None:
    (stage.fake / "sleeps").touch()
    process = stage.start("x")
    stage.wait_for("asleep")
    process.kill()
    process.communicate()
    with (stage.place / "pyproject.toml").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(int((stage.fake / "asleep").read_text()), signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Scripts/python.exe", "was not made by launch.sh (it holds Scripts); move it away"),
        ("", "was not made by launch.sh (it is no folder); move it away"),
    ],
)
def test_a_venv_of_somebody_else_is_left_alone(name: str, message: str, real: str, tmp_path: Path) -> None:
    place = checkout(tmp_path / "here", "ddpbenchtiny>=1.0")
    file = place / ".venv" / name if name else place / ".venv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    done = launch(place, path=real)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert message in done.stderr
    assert file.read_text() == "mine"


@pytest.mark.slow
def test_a_venv_of_another_python_is_not_used_for_the_one_that_was_named(stage: Stage) -> None:
    python(stage.place.parent / "bin" / "python3.12", 12)
    named = stage.launch(PYTHON=f"{stage.place.parent}/bin/python3")

    assert named.returncode == 0, "its own is used"
    with pytest.raises(UserError, match=r"PYTHON is .* was made with /other, 3.12.1; remove .* or unset PYTHON"):
        venv.require_usable(venv.PythonInfo((3, 12, 1), "/other"), is_chosen=True)
    with pytest.raises(UserError, match=r"is Python 3.9.18, and 3.10 or later is needed; remove"):
        venv.require_usable(venv.PythonInfo((3, 9, 18), "/other"), is_chosen=False)
    venv.require_usable(venv.PythonInfo((3, 12, 1), "/other"), is_chosen=False)


@pytest.mark.slow
def test_python_without_its_venv_package_is_one_line_with_the_cure(real: str, tmp_path: Path) -> None:
    """Debian ships ensurepip apart: here a module in its place fails as a missing one does."""
    place = checkout(tmp_path / "here", "ddpbenchtiny>=1.0")
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "ensurepip.py").write_text("import sys; sys.exit('No module named ensurepip')")
    done = launch(place, path=real, PYTHONPATH=str(tmp_path / "lacking"))
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "launch.sh: cannot install pip into .venv (No module named ensurepip); on Debian and Ubuntu: "
        f"apt-get install {package}; or install uv"
    )


@pytest.mark.slow
def test_pytorch_comes_from_its_cpu_index_where_there_is_no_gpu(index: str, tmp_path: Path) -> None:
    """With a real pip, which the set-up brings into a .venv that has none."""
    place = checkout(tmp_path / "here", "torch>=2.10")
    with_cpu_index(place, f"{index}/whl/cpu")
    file = wheel(tmp_path / "served" / "whl" / "cpu" / "torch", "torch", "2.14.1+cpu")
    bare_venv(place)
    bare_python(tmp_path / "bin" / "python3")
    path = f"{tmp_path / 'bin'}:{os.defpath}"
    done = launch(place, "x", path=path, PIP_CONFIG_FILE=os.devnull, PIP_TARGET=str(tmp_path / "t"), no_proxy="*")

    assert done.returncode == 0, done.stderr
    assert "\nlaunch.sh: no NVIDIA GPU: taking PyTorch's CPU build (PIP_INDEX_URL=" in done.stderr
    assert "\nlaunch.sh: about 205 MB to download, 810 MB unpacked; " in done.stderr
    assert f"\n  torch 2.14.1+cpu, {file.stat().st_size} bytes\n  unpacking them\n" in done.stderr
    assert packages.MEASURED_TIME not in done.stderr
    assert any((place / ".venv").rglob("torch-2.14.1+cpu.dist-info"))
    assert not (tmp_path / "t").exists()


@pytest.mark.slow
def test_without_that_index_the_ordinary_one_is_taken_and_the_reason_given(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "torch>=2.10")
    with_cpu_index(stage.place, "http://127.0.0.1:9/whl/cpu")
    done = stage.launch(PIP_CONFIG_FILE=os.devnull, no_proxy="*")

    assert done.returncode == 0, done.stderr
    assert (
        "PyTorch's index of CPU builds cannot be used ([Errno 111] Connection refused): taking the CUDA" in done.stderr
    )
    assert "about 3.0 GB to download, 5.9 GB unpacked" in done.stderr
    assert "--index-url" not in stage.calls()[0][0]


@pytest.mark.slow
def test_an_index_of_the_user_s_own_is_kept_to(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "torch>=2.10")
    with_cpu_index(stage.place, "http://127.0.0.1:9/whl/cpu")
    done = stage.launch(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL="http://user:secret@127.0.0.1:9/mine")

    assert "packages come from your own sources (PIP_INDEX_URL), not from PyTorch's index of CPU builds" in done.stderr
    assert "secret" not in done.stderr
    ((words, settings),) = stage.calls()
    assert "--index-url" not in words
    assert settings["PIP_INDEX_URL"] == "http://user:secret@127.0.0.1:9/mine"


@pytest.mark.slow
def test_uv_installs_where_it_is_there(tmp_path: Path) -> None:
    """A stand-in that prints as uv 0.13 does; .venv gets no pip."""
    stage = Stage(tmp_path)
    shutil.rmtree(stage.site / "pip-1.dist-info")
    info = f"{stage.site}/ddpbenchtiny-1.0.dist-info"
    metadata = f"mkdir {info}; printf 'Name: ddpbenchtiny\\nVersion: 1.0\\n' > {info}/METADATA"
    program(tmp_path / "bin" / "uv", f'echo "$@" > {tmp_path}/arguments; echo " + ddpbenchtiny==1.0" >&2; {metadata}')
    done = stage.launch(PIP_CONFIG_FILE=os.devnull, UV_CONFIG_FILE="")

    assert done.returncode == 0, done.stderr
    assert "launch.sh: installing with uv\n  ddpbenchtiny 1.0\n" in done.stderr
    expected = f"pip install --python {stage.place}/.venv/bin/python --no-progress ddpbenchtiny>=1.0\n"
    assert (tmp_path / "arguments").read_text() == expected
    assert not any(stage.site.glob("pip*"))
