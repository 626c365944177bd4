"""Data is used when its digest says so, whatever the source; fetching is whole and safe to do twice at once."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ddpbench.errors import DataError, DiskError, UserError
from ddpbench.tasks import fetch

CONTENT = {name: name.encode() * 100 for name in fetch.FILES["mnist"]}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put four small files in MNIST's place. Returns the list of sources asked, as they are asked."""
    asked: list[str] = []
    digests = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in CONTENT.items()}
    monkeypatch.setitem(fetch.FILES, "mnist", digests)

    def broken(_: Path) -> Path:
        asked.append("broken")
        raise fetch.SourceError("no route")

    def torn(staging: Path) -> Path:
        asked.append("torn")
        for name, content in CONTENT.items():
            (staging / name).write_bytes(content[:50])
        return staging

    def good(staging: Path) -> Path:
        asked.append("good")
        for name, content in CONTENT.items():
            (staging / name).write_bytes(content)
        return staging

    monkeypatch.setitem(fetch.SOURCES, "mnist", [("broken", broken), ("torn", torn), ("good", good)])
    return asked


def test_sources_are_tried_in_order_until_the_digests_are_right(tiny: list[str], tmp_path: Path) -> None:
    found = fetch.ensure("mnist", tmp_path)

    assert found == CONTENT
    assert {path.name: path.read_bytes() for path in (tmp_path / "MNIST/raw").iterdir()} == CONTENT
    assert tiny == ["broken", "torn", "good"]


def test_data_that_is_there_is_not_fetched_again(tiny: list[str], tmp_path: Path) -> None:
    fetch.ensure("mnist", tmp_path)
    fetch.ensure("mnist", tmp_path)

    assert tiny.count("good") == 1


def test_processes_that_start_at_once_fetch_once(tiny: list[str], tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fetch.ensure("mnist", tmp_path), range(8)))

    assert tiny.count("good") == 1
    assert found == [CONTENT] * 8


def test_a_truncated_file_is_named_with_its_size(tiny: list[str], tmp_path: Path) -> None:
    fetch.ensure("mnist", tmp_path)
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(b"short")

    with pytest.raises(DataError, match=r"train-images-idx3-ubyte has 5 bytes, expected 2,300; delete it"):
        fetch.ensure("mnist", tmp_path)


def test_a_flipped_bit_is_found(tiny: list[str], tmp_path: Path) -> None:
    fetch.ensure("mnist", tmp_path)
    path = tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte has SHA-256 \w{12}\.\.\., expected"):
        fetch.ensure("mnist", tmp_path)


def test_no_source_is_one_line_with_every_reason(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fetch.SOURCES, "mnist", fetch.SOURCES["mnist"][:2])

    with pytest.raises(UserError) as problem:
        fetch.ensure("mnist", tmp_path)

    assert "broken (no route)" in str(problem.value)
    assert "torn (" in str(problem.value)
    assert "put train-images-idx3-ubyte" in str(problem.value)
    assert not list((tmp_path).glob(".fetch-*"))


def test_a_data_folder_that_is_no_folder_is_refused(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DiskError, match="file is not a folder we can write to"):
        fetch.ensure("mnist", tmp_path / "file")
