"""This host's place: what every system sets, what contradicts itself, and what is refused. No process is started."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpbench.errors import UserError
from ddpbench.hosts import place
from ddpbench.hosts.place import DEFAULT_PORT, MOST_HOSTS, Place

BY_HAND = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_JOB_ID": "123456",
}
BATCH = {"AWS_BATCH_JOB_NUM_NODES": "2", "AWS_BATCH_JOB_NODE_INDEX": "1", "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0"}
# The variables of each system as it sets them on the second of two hosts, and the place that they mean.
KNOWN = {
    "NNODES, NODE_RANK": (BY_HAND, ("10.0.0.1", DEFAULT_PORT)),
    "PET_*": (
        {"PET_NNODES": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-node-0-0.job", "PET_MASTER_PORT": "29500"},
        ("job-node-0-0.job", 29500),
    ),
    "SLURM_*": (SLURM, ("n1", 18456)),
    "SKYPILOT_*": (
        {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"},
        ("10.0.0.1", DEFAULT_PORT),
    ),
    "AWS_BATCH_JOB_*": (
        {**BATCH, "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS": "10.0.0.1"},
        ("10.0.0.1", DEFAULT_PORT),
    ),
    "JOB_COMPLETION_INDEX and NNODES, NODE_RANK": (
        {"NNODES": "2", "JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "set-job-0-0.set"},
        ("set-job-0-0.set", DEFAULT_PORT),
    ),
}
REFUSED = {
    "no address": (
        {"NNODES": "2", "NODE_RANK": "0"},
        "NNODES says 2 hosts, and nothing says where host 0 is: MASTER_ADDR",
    ),
    "no index": ({"NNODES": "2", "MASTER_ADDR": "a"}, "NNODES says 2 hosts, and nothing says which of them this is"),
    "a range": (
        {**BY_HAND, "NNODES": "1:2"},
        "NNODES 1:2: a study compares fixed work, so the number of hosts must be one",
    ),
    "too large an index": ({**BY_HAND, "NODE_RANK": "2"}, "NODE_RANK must be a whole number from 0 to 1, got '2'"),
    "no number": ({**BY_HAND, "NNODES": "two"}, "NNODES must be a whole number from 1 to 1,024, got 'two'"),
    "no port": ({**BY_HAND, "MASTER_PORT": "0"}, "MASTER_PORT must be a whole number from 1 to 65,535, got '0'"),
    "no name": ({**BY_HAND, "MASTER_ADDR": "a b;c"}, "MASTER_ADDR 'a b;c' is no name and no address of a host"),
    "two counts": (
        {**BY_HAND, "PET_NNODES": "3"},
        "NNODES=2 and PET_NNODES=3 contradict each other; unset one of them",
    ),
    "two indexes": ({**BY_HAND, "JOB_COMPLETION_INDEX": "0"}, "NODE_RANK=1 and JOB_COMPLETION_INDEX=0 contradict"),
    "two addresses": ({**BY_HAND, "PET_MASTER_ADDR": "b"}, "MASTER_ADDR=10.0.0.1 and PET_MASTER_ADDR=b contradict"),
    "a task for each rank": (
        {**SLURM, "SLURM_STEP_NUM_TASKS": "8"},
        "Slurm started 8 tasks on 2 nodes, and each host needs one, which starts the ranks; use srun --ntasks",
    ),
    "the second task of a node": ({**SLURM, "SLURM_LOCALID": "1"}, "use srun --ntasks-per-node=1"),
    "another main node": ({**BATCH, "AWS_BATCH_JOB_MAIN_NODE_INDEX": "1"}, "make node 0 the main node"),
    "a list that cannot be read": ({**SLURM, "SLURM_STEP_NODELIST": "n[a-b]"}, "give MASTER_ADDR=ADDRESS of host 0"),
}


@pytest.mark.parametrize("system", KNOWN)
def test_the_variables_of_each_system_say_where_a_host_is(system: str) -> None:
    variables, (address, port) = KNOWN[system]
    assert place.take(["--epochs", "1"], variables) == (Place(1, 2, address, port, system), ["--epochs", "1"])
    assert set(variables) - {name for name in variables if name.startswith(("SLURM_", "AWS_"))} <= place.names()


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(why: str) -> None:
    variables, said = REFUSED[why]
    with pytest.raises(UserError) as refused:
        place.take([], variables)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_flags_count_before_variables_and_leave_the_words_of_the_command() -> None:
    words = [
        "--nnodes=4",
        "--ranks",
        "2",
        "--node-rank",
        "3",
        "--master-addr",
        "h0",
        "--master-port=5000",
        "--join-s",
        "9",
    ]
    found, rest = place.take(words, {**BY_HAND, "MASTER_PORT": "1"})
    assert (found, rest) == (Place(3, 4, "h0", 5000, "flags", 9.0), ["--ranks", "2"])
    with pytest.raises(UserError, match="--node-rank needs a value"):
        place.take(["--node-rank"], BY_HAND)
    for wrong in ("0", "nan", "soon", "1e9"):
        with pytest.raises(UserError, match="--join-s must be between 1 and 86,400 seconds"):
            place.take(["--join-s", wrong], BY_HAND)


@pytest.mark.parametrize("variables", [{}, {"NNODES": "1"}, {"PET_NNODES": "1", "PET_NODE_RANK": "0"}])
def test_one_host_has_no_place(variables: dict[str, str]) -> None:
    assert place.take([], variables) == (None, [])


def test_two_systems_that_agree_are_no_contradiction() -> None:
    # An address by hand counts before Slurm's name for the same host: it may be that of another network.
    by_hand = {"MASTER_ADDR": "192.168.0.1", "MASTER_PORT": "5000", "NNODES": "2"}
    found, _ = place.take([], {**SLURM, **by_hand})
    assert found is not None
    assert (found.index, found.address, found.port) == (1, "192.168.0.1", 5000)
    unreadable = {**SLURM, "SLURM_STEP_NODELIST": "n[a-b]"}
    assert place.take([], {**unreadable, "MASTER_ADDR": "n1"})[0] is not None
    assert place.take(["--master-addr", "n1"], unreadable)[0] is not None


def test_the_variables_of_a_batch_script_are_those_of_one_host_and_a_line_says_what_to_type() -> None:
    script = {name: value for name, value in SLURM.items() if "STEP" not in name} | {"SLURM_JOB_NUM_NODES": "2"}
    assert place.take([], script) == (None, [])
    assert place.hint(script) == (
        "this Slurm job has 2 nodes and this uses one of them; for all: srun --ntasks-per-node=1 bash launch.sh"
    )
    assert place.hint({**script, "SLURM_STEP_ID": "0"}) == place.hint({}) == ""


def test_jobs_of_slurm_get_ports_of_their_own() -> None:
    ports = {place.take([], {**SLURM, "SLURM_JOB_ID": str(each)})[0].port for each in (7, 8, 120_009)}  # type: ignore[union-attr]
    assert ports == {15_007, 15_008, 15_009}


def test_the_main_node_of_aws_batch_knows_itself_by_its_name() -> None:
    found, _ = place.take([], {**BATCH, "AWS_BATCH_JOB_NODE_INDEX": "0", "HOSTNAME": "ip-10-0-0-1"})
    assert found is not None
    assert (found.index, found.address) == (0, "ip-10-0-0-1")


@given(
    st.lists(
        st.tuples(
            st.text("abcdefgh-", min_size=1, max_size=8),
            st.lists(st.tuples(st.integers(0, 120), st.integers(0, 5), st.integers(1, 4)), max_size=3),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_slurms_lists_of_nodes_are_read_as_they_are_written(
    parts: list[tuple[str, list[tuple[int, int, int]]]],
) -> None:
    text, nodes = [], list[str]()
    for prefix, ranges in parts:
        inner = [
            f"{first:0{width}}-{first + more:0{width}}" if more else f"{first:0{width}}"
            for first, more, width in ranges
        ]
        text.append(f"{prefix}[{','.join(inner)}]" if ranges else prefix)
        nodes += [f"{prefix}{first + i:0{width}}" for first, more, width in ranges for i in range(more + 1)]
        nodes += [] if ranges else [prefix]
    assert place.nodes_in(",".join(text)) == nodes


@pytest.mark.parametrize(
    "text", ["", "n[1-2", "n[1-2]-ib", "a[1-2]b[3-4]", "n[]", "n[1-]", "n[2-1]", "n]1[", "n[1,,2]", ","]
)
def test_another_form_of_a_list_of_nodes_is_refused_and_not_guessed(text: str) -> None:
    with pytest.raises(UserError, match="give MASTER_ADDR=ADDRESS of host 0"):
        place.nodes_in(text)


@given(
    st.lists(st.text(max_size=12), max_size=4),
    st.dictionaries(
        st.sampled_from(sorted(place.names())), st.text(st.characters(exclude_characters="\0"), max_size=12)
    ),
)
def test_no_words_and_no_variables_break_it(words: list[str], variables: dict[str, str]) -> None:
    try:
        found, _ = place.take(words, {**variables, "SLURM_STEP_ID": "0"})
    except UserError:
        return
    if found is not None:
        assert 0 <= found.index < found.count <= MOST_HOSTS
        assert 0 < found.port < 65_536
