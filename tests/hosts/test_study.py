"""A study over two hosts: arms of one host and of both take turns, and the answer speaks of hosts."""

import os
from pathlib import Path

import msgspec
import pytest

from ddpbench.turns import read_launches
from tests.hosts.jobs import SECRET
from tests.hosts.network import Network, missing

WORDS = ("speed", "--dataset", "synthetic", "--model", "mlp", "--minutes", "0.1", "--layouts", "1x1", "1x2", "2x2")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_layouts_over_two_hosts_take_turns(tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    with Network(2, cores=["0", "1"] if (os.cpu_count() or 1) > 1 else None) as net:
        shape = {"NNODES": "2", "MASTER_ADDR": net.hosts[0].address, "DDPBENCH_SECRET": SECRET}
        started = [
            host.start(
                *("bash", "launch.sh", *WORDS, "--results", tmp_path / str(host.index)),
                env={**shape, "NODE_RANK": str(host.index)},
            )
            for host in net.hosts
        ]
        ended = [(*process.communicate(timeout=350), process.returncode) for process in started]

    assert [code for _, _, code in ended] == [0, 0], ended
    assert ended[1][1].endswith("the job is complete; its results are on host 0 (10.77.0.1)\n")
    (folder,) = (path.parent for path in (tmp_path / "0").glob("*/summary.json"))
    for launch in read_launches(folder):
        assert (launch.hosts, len(launch.others)) == (2, 1)
        shapes = {(each.turn.arm.hosts, each.turn.arm.ranks_per_host, each.turn.arm.comm) for each in launch.visits}
        assert {(1, 1, None), (1, 2, "shm"), (2, 2, "gloo"), (2, 2, "shm+gloo"), (2, 2, "none")} <= shapes
        assert all((each.hosts_s is not None) == (each.turn.arm.comm is None) for each in launch.visits)
        between = [each for each in launch.visits if each.turn.arm.comm == "shm+gloo"]
        assert all(sum(map(sum, each.between_s or [])) > 0 for each in between)
    assert "hosts are" in ended[0][0], "the answer has a line for hosts"
    assert (folder / "hosts.png").is_file()
    arms = msgspec.json.decode((folder / "summary.json").read_bytes())["arms"]
    assert {each["hosts"] for each in arms} == {1, 2}
    assert not [*(tmp_path / "1").glob("*")], "host 0 alone writes"
