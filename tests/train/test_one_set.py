"""Every host has the same data, or training does not begin."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from ddpbench.errors import DataError
from ddpbench.tasks.samples import Samples
from ddpbench.train import one_set


@dataclass
class Rank:
    """A rank of two hosts that hears what the other one would say."""

    other: list[str]
    hosts: int = 2
    local_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    said: list[str] = field(default_factory=list)

    def gather(self, own: list[str]) -> list[list[str]]:
        self.said = own
        return [own, self.other or own]


def batches(number: int = 300) -> SimpleNamespace:
    samples = Samples((torch.arange(number).float().unsqueeze(1), torch.arange(number)))
    return SimpleNamespace(data=SimpleNamespace(train=samples, test=samples))


def test_equal_data_passes_and_one_host_is_not_asked() -> None:
    one_set.require(batches(), Rank([]))  # type: ignore[arg-type]
    alone = Rank(["other"], hosts=1)
    one_set.require(batches(), alone)  # type: ignore[arg-type]

    assert alone.said == []


def test_a_host_with_other_data_is_named_with_its_numbers() -> None:
    here = Rank([])
    one_set.require(batches(), here)  # type: ignore[arg-type]
    number, test, digest = here.said
    fewer = r"host 1 has other data than host 0: 299 samples to train on and 300 to test on; host 0 has 300 and 300;"
    with pytest.raises(DataError, match=fewer):
        one_set.require(batches(), Rank(["299", test, digest]))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"host 1 has other data than host 0: as many samples, and other ones; give"):
        one_set.require(batches(), Rank([number, test, "0" * 16]))  # type: ignore[arg-type]


def test_no_sample_behind_the_last_is_asked_for_in_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    number, orders = 2**24 + 4, list[torch.Tensor]()
    monkeypatch.setattr(one_set.alone, "take", lambda _, order, __: orders.append(order) or order)
    data = SimpleNamespace(train=range(number), test=range(1))
    one_set.require(SimpleNamespace(data=data), Rank([]))  # type: ignore[arg-type]

    assert (int(orders[0][0]), int(orders[0][-1])) == (0, number - 1)


def test_samples_over_the_whole_set_are_compared() -> None:
    said = []
    for changed in (None, 0, 299):
        data = batches()
        if changed is not None:
            data.data.train.tensors[0][changed] += 1
        here = Rank([])
        one_set.require(data, here)  # type: ignore[arg-type]
        said.append(here.said[2])

    assert len({*said}) == 3
