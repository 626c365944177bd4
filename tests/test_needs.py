"""The set-up's own reader of pyproject.toml, held against a real one."""

import sys

import pytest

from ddpbench import needs

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no TOML reader")


def test_requirements_are_those_of_the_project_file() -> None:
    project = tomllib.loads(needs.PROJECT.read_text())["project"]

    assert needs.required(needs.PROJECT.read_text(), dev=False) == project["dependencies"]
    both = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert needs.required(needs.PROJECT.read_text(), dev=True) == both


def test_a_requirement_is_met_from_its_bound_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "version", lambda _: "2.14.1+cpu")

    assert needs.is_met("torch>=2.10")
    assert needs.is_met("torch>=2.14.1")
    assert not needs.is_met("torch>=2.15")
    assert not needs.is_met("torch>=10.0")


def test_what_is_not_installed_is_not_met() -> None:
    assert not needs.is_met("no-such-distribution-at-all>=0")


def test_it_runs_on_the_standard_library_alone() -> None:
    ours = set(sys.modules[needs.__name__].__dict__) & {"torch", "msgspec", "numpy"}

    assert not ours
