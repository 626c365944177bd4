"""Arms over several hosts: which ranks they have, how these are numbered, and what every host measures."""

from typing import Any

import msgspec
import pytest
import torch
import torch.distributed as dist

from ddpbench.record import Comm
from ddpbench.train.world import World
from tests import warm
from tests.train.host_ranks import ARMS, HOSTS, LOCAL_SIZE, TURNS, Told

HERE, EVERYONE = (3, 2), range(6)  # three hosts of two ranks


def parts(hosts: int, ranks: int, comm: Comm | None, monkeypatch: pytest.MonkeyPatch) -> dict[int, World]:
    """Return the part that every rank of HERE has, by its number among all; the group of a part is its members."""
    monkeypatch.setattr(dist, "new_group", lambda members, **_: members)
    all_hosts, local_size = HERE
    worlds = [World(rank, all_hosts * local_size, local_size, torch.device("cpu"), "gloo") for rank in EVERYONE]
    return {each.rank: mine for each in worlds if (mine := each.part(hosts, ranks, comm)) is not None}


@pytest.mark.parametrize(
    ("hosts", "ranks", "members", "group"),
    [
        (1, 1, [0], [0]),
        (1, 2, [0, 1], [0, 1]),
        (2, 1, [0, 2], [0, 2]),
        (2, 2, [0, 1, 2, 3], [0, 1, 2, 3]),
        (3, 1, [0, 2, 4], [0, 2, 4]),
        (3, 2, [*EVERYONE], None),  # torch's own group of all
    ],
)
def test_a_part_is_the_first_ranks_of_the_first_hosts_numbered_anew(
    hosts: int, ranks: int, members: list[int], group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = parts(hosts, ranks, "gloo", monkeypatch)

    assert [*found] == members
    assert [each.rank for each in found.values()] == [*range(hosts * ranks)]
    assert {(each.size, each.local_size, each.hosts) for each in found.values()} == {(hosts * ranks, ranks, hosts)}
    assert [each.group for each in found.values()] == [group] * len(members)
    assert [rank for rank, each in found.items() if each.is_main] == [0]


def test_ranks_that_do_not_communicate_are_worlds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = parts(3, 1, None, monkeypatch)

    assert [*found] == [0, 2, 4]
    assert {(each.rank, each.size, each.local_size, each.comm) for each in found.values()} == {(0, 1, 1, None)}


def test_a_part_knows_the_processes_of_its_ranks_where_they_are_known() -> None:
    here = World(1, 3, 3, torch.device("cpu"), "gloo", pids=[10, 11, 12])
    mine = here.part(1, 3, "gloo")

    assert mine is not None
    assert mine.pids == [10, 11, 12]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Told]:
    """What every rank of a launch over two pretended hosts says, in the order of ranks."""
    folder = tmp_path_factory.mktemp("hosts")
    ended = [
        each.wait() for each in warm.start_ranks(HOSTS * LOCAL_SIZE, "-m", "tests.train.host_ranks", folder=folder)
    ]
    assert [each.returncode for each in ended] == [0] * len(ended), [each.stderr for each in ended]
    return [msgspec.json.decode(each.stdout.splitlines()[-1], type=Told) for each in ended]


@pytest.mark.slow
def test_every_host_measures_the_single_process_and_its_figures_are_those_of_host_0(told: list[Told]) -> None:
    visits = {each.turn: each for each in told[0].visits}
    alone, one_host = visits[TURNS["alone"]], visits[TURNS["one host"]]

    assert alone.hosts_s is not None
    assert [len(row) for row in alone.hosts_s] == [HOSTS]
    assert alone.block_s == [row[:1] for row in alone.hosts_s]
    assert alone.hosts_s[0][0] != alone.hosts_s[0][1], "each has a clock of its own"
    assert one_host.hosts_s is None
    assert [each.turn for each in told[0].visits if each.hosts_s] == [TURNS["alone"]]
    sizes = {name: len(visits[turn].block_s[0]) for name, turn in TURNS.items()}
    assert sizes == {name: arm.world_size for name, arm in ARMS.items()}
    assert all(min(row) > 0 for each in visits.values() for row in each.block_s), "no row of a rank that slept"


@pytest.mark.slow
def test_ranks_of_every_layout_train_one_network_and_controls_do_not(told: list[Told]) -> None:
    ranks = {name: [rank for rank, each in enumerate(told) if name in each.weights] for name in ARMS}
    networks = {name: len({each.weights[name] for each in told if name in each.weights}) for name in ARMS}

    assert ranks == {
        "alone": [0, 2],
        "one host": [0, 1],
        "single ranks": [0, 2],
        "all, gloo": [0, 1, 2, 3],
        "all, shm+gloo": [0, 1, 2, 3],
        "control": [0, 1, 2, 3],
    }
    assert networks == {name: 4 if name == "control" else 1 for name in ARMS}
