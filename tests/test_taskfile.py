"""The file of a task as it is read without being run: what it must have, what it may say, and its digest."""

from pathlib import Path

import pytest

from ddpbench import taskfile
from ddpbench.errors import UserError

WHOLE = "def model(): ...\ndef data(path, size=3): ...\ndef loss(net, batch, *, smooth=0.1): ...\n"


def put(folder: Path, text: str, name: str = "my_task.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_functions_and_constants_are_read_and_nothing_runs(tmp_path: Path) -> None:
    text = put(
        tmp_path, WHOLE + "raise SystemExit\nbatch, epochs = 64, 2\nmargin = 0.5\nunit = 'mm'\nparts = ('a', 'b')\n"
    )
    found = taskfile.read(text)

    assert (found.name, found.inner, found.is_ours) == ("my_task.py", "", False)
    assert found.arguments == ["path", "size", "smooth"]
    assert found.constants == {"batch": 64, "epochs": 2, "margin": 0.5, "unit": "mm", "parts": ("a", "b")}


def test_a_class_in_a_file_is_a_task_too(tmp_path: Path) -> None:
    body = "".join(f"    {line}\n" for line in ["batch = 8", *WHOLE.splitlines()])
    found = taskfile.read(put(tmp_path, f"class Small:\n{body}") + ":Small")

    assert (found.name, found.inner, found.constants) == ("my_task.py:Small", "Small", {"batch": 8})


def test_a_function_may_be_imported_or_assigned(tmp_path: Path) -> None:
    put(tmp_path, "def model(): ...\n", "nets.py")
    found = taskfile.read(put(tmp_path, "from nets import model\ndata = loss = print\n"))

    assert found.functions == {}


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("def model(): ...\ndef data(): ...\n", "", "has no function loss; a task has model, data, loss"),
        ("def model(:\n", "", "line 1: invalid syntax"),
        (WHOLE, ":Big", "has no class Big; it has none"),
        (WHOLE + "batch = 2 * n\n", "", "line 4: batch must be written as a value: it is read before it runs"),
        (WHOLE + "batch = '8'\n", "", "batch must be of type int, got '8'"),
        (WHOLE + "epochs = True\n", "", "epochs must be of type int, got True"),
    ],
)
def test_what_no_study_could_use_is_one_line(text: str, name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        taskfile.read(put(tmp_path, text) + name)

    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_digest_covers_the_files_beside_it_that_it_imports(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(), (tmp_path / "two").mkdir()
    digests = []
    for folder, layers in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        put(folder, f"LAYERS = {layers}\n", "deeper.py")
        put(folder, "import deeper\n", "nets.py")
        put(folder, "never imported\n", "other.py")
        digests.append(taskfile.read(put(folder, WHOLE + "from nets import *\n")).sha256)
    same = taskfile.read(put(tmp_path, WHOLE)).sha256

    assert len({*digests, same}) == 3
    put(tmp_path, WHOLE, "copy.py")
    assert taskfile.read(str(tmp_path / "copy.py")).sha256 == same


def test_a_value_is_a_literal_or_text() -> None:
    assert [taskfile.value(text) for text in ("3", "0.5", "True", "(1, 2)", "resnet18", "")] == [
        *(3, 0.5, True, (1, 2), "resnet18", "")
    ]
