"""What a Python lacks: the set-up's own reader of pyproject.toml, held against a real one, and its exit codes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddpbench.setup import needs

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")


def test_requirements_are_those_of_the_project_file() -> None:
    project = tomllib.loads(needs.PROJECT.read_text())["project"]

    assert needs.required(needs.PROJECT.read_text(), dev=False) == project["dependencies"]
    both = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert needs.required(needs.PROJECT.read_text(), dev=True) == both


def test_a_requirement_is_met_from_its_bound_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "distribution", lambda _: SimpleNamespace(metadata={"Version": "2.14.1+cpu"}))

    assert needs.is_met("torch>=2.10")
    assert needs.is_met("torch>=2.14.1")
    assert not needs.is_met("torch>=2.15")
    assert not needs.is_met("torch>=10.0")


def test_what_is_not_installed_is_not_met() -> None:
    assert not needs.is_met("no-such-distribution-at-all>=0")


def test_torn_metadata_is_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted installer leaves a folder without a file, or a file without a line."""
    (tmp_path / "torn-2.0.dist-info").mkdir()
    (tmp_path / "halved-2.0.dist-info").mkdir()
    (tmp_path / "halved-2.0.dist-info" / "METADATA").write_text("Name: halved\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert not needs.is_met("torn>=1.0")
    assert not needs.is_met("halved>=1.0")


def test_exit_codes_tell_a_lack_from_a_python_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(needs, "is_met", lambda requirement: requirement != "scipy>=1.13")
    assert needs.main([]) == needs.LACKING
    assert capsys.readouterr().out == "scipy>=1.13\n"

    monkeypatch.setattr(needs, "is_met", lambda _: True)
    assert needs.main(["dev"]) == 0
    (tmp_path / needs.UNFINISHED).touch()
    assert needs.main([]) == needs.LACKING, "an interrupted set-up is never trusted"
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    assert needs.main([]) == 2
    assert capsys.readouterr().out == ""


def test_it_runs_on_the_standard_library_alone() -> None:
    ours = set(sys.modules[needs.__name__].__dict__) & {"torch", "msgspec", "numpy"}

    assert not ours
