"""This host's place among the hosts of a job: from flags, or from the variables that a scheduler sets.

Every host runs the same line. Flags count before variables. Two variables that contradict each other are refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddpbench.command import COMMAND
from ddpbench.errors import UserError

DEFAULT_PORT = 29400
FLAGS = {"--nnodes": "count", "--node-rank": "index", "--master-addr": "address", "--master-port": "port"}
JOIN_FLAG, DEFAULT_JOIN_S, MOST_JOIN_S = "--join-s", 600.0, 86_400.0
MOST_HOSTS = 1_024
# The variables of each system, by what they say. A variable that says two things in one is read by `_derived`.
SYSTEMS: dict[str, dict[str, str]] = {
    "NNODES, NODE_RANK": {"count": "NNODES", "index": "NODE_RANK", "address": "MASTER_ADDR", "port": "MASTER_PORT"},
    "PET_*": {
        "count": "PET_NNODES",
        "index": "PET_NODE_RANK",
        "address": "PET_MASTER_ADDR",
        "port": "PET_MASTER_PORT",
    },
    "SLURM_*": {"count": "SLURM_STEP_NUM_NODES", "index": "SLURM_NODEID", "address": "SLURM_STEP_NODELIST"},
    "SKYPILOT_*": {
        "count": "SKYPILOT_NUM_NODES",
        "index": "SKYPILOT_NODE_RANK",
        "address": "SKYPILOT_NODE_IPS",
    },
    "AWS_BATCH_JOB_*": {
        "count": "AWS_BATCH_JOB_NUM_NODES",
        "index": "AWS_BATCH_JOB_NODE_INDEX",
        "address": "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS",
    },
    "JOB_COMPLETION_INDEX": {"index": "JOB_COMPLETION_INDEX"},
}
NEEDED = {
    "index": "which of them this is: NODE_RANK=0 on the first host, 1 on the next",
    "address": "where host 0 is: MASTER_ADDR=ADDRESS, the same on every host",
}
NAMED_BY_SLURM = "SLURM_STEP_NODELIST"  # names, by which an address that a person gives cannot be judged: that counts
NODE, RANGES = r"[^\s,\[\]]+", r"\[\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*\]"  # of Slurm's lists of nodes
SLURM_PORTS = 15_000  # of jobs: from here on, by the last four digits of the job's number


@dataclass(frozen=True)
class Place:
    """One host of a job of several."""

    index: int  # from 0; host 0 leads
    count: int
    address: str  # of host 0: a name or an address
    port: int  # of host 0's line
    source: str  # which flags or variables said so
    join_s: float = DEFAULT_JOIN_S  # how long hosts wait for each other

    @property
    def leads(self) -> bool:
        """Whether this is host 0."""
        return self.index == 0


def take(words: Sequence[str], environment: Mapping[str, str]) -> tuple[Place | None, list[str]]:
    """Return this host's place, None where the job has one host, and the words without the flags that say so.

    Raises UserError for a place that cannot be, and where two variables contradict each other.
    """
    given, rest = _flags(words)
    join_s = _seconds(given.pop("join_s", None))
    said = {name: [(value, flag)] for name, (value, flag) in given.items()}
    for system, names in SYSTEMS.items():
        if system == "SLURM_*" and not _is_step(environment):
            continue
        for what, variable in names.items():
            if what in given or (variable == NAMED_BY_SLURM and what in said):
                continue
            value = _derived(variable, environment)
            if value is not None:
                said.setdefault(what, []).append((value, variable))
    if "count" not in said or _one("count", said) == "1":
        return None, rest
    count = _number(*said["count"][0], 1, MOST_HOSTS)
    _require_one_task(environment, count)
    for name, what in NEEDED.items():
        if name not in said:
            raise UserError(f"{said['count'][0][1]} says {count} hosts, and nothing says {what}")
    _one("address", said)
    index = _number(_one("index", said), said["index"][0][1], 0, count - 1)
    port = _number(_one("port", said), said["port"][0][1], 1, 65_535) if "port" in said else _port(environment)
    if not re.fullmatch(r"[\w.:%-]+", said["address"][0][0]):
        raise UserError(f"{said['address'][0][1]} {said['address'][0][0]!r} is no name and no address of a host")
    sources = {_system(source) for name in ("count", "index", "address") for _, source in said[name][:1]}
    return Place(index, count, said["address"][0][0], port, " and ".join(sorted(sources)), join_s), rest


def hint(environment: Mapping[str, str]) -> str:
    """Return a line for a person whose allocation has more hosts than this command uses; "" where it has not."""
    nodes = environment.get("SLURM_JOB_NUM_NODES", "1")
    if nodes == "1" or _is_step(environment):
        return ""
    return f"this Slurm job has {nodes} nodes and this uses one of them; for all: srun --ntasks-per-node=1 {COMMAND}"


def names() -> set[str]:
    """Return the variables that may say where this host is."""
    return {variable for variables in SYSTEMS.values() for variable in variables.values()}


def nodes_in(text: str) -> list[str]:
    """Return the names that Slurm's list of nodes stands for: `n[1-2,07],m` is n1, n2, n07 and m.

    Raises UserError for a list that has another form.
    """
    found: list[str] = []
    node = f"{NODE}(?:{RANGES})?"
    is_known = re.fullmatch(f"{node}(?:,{node})*", text, re.ASCII) is not None
    for prefix, ranges in re.findall(f"({NODE})({RANGES})?", text, re.ASCII) if is_known else ():
        if not ranges:
            found.append(prefix)
        for each in ranges.strip("[]").split(",") if ranges else ():
            first, _, last = each.partition("-")
            found += [f"{prefix}{number:0{len(first)}}" for number in range(int(first), int(last or first) + 1)]
    if not found:
        raise UserError(f"Slurm's list of nodes {text!r} cannot be read; give MASTER_ADDR=ADDRESS of host 0")
    return found


def _flags(words: Sequence[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Return the values of our flags with their names, and all other words."""
    given: dict[str, tuple[str, str]] = {}
    rest, left = list[str](), iter(words)
    for word in left:
        flag, equals, value = word.partition("=")
        name = {**FLAGS, JOIN_FLAG: "join_s"}.get(flag)
        if name is None:
            rest.append(word)
            continue
        text = value if equals else next(left, None)
        if text is None:
            raise UserError(f"{flag} needs a value")
        given[name] = (text, flag)
    return given, rest


def _derived(variable: str, environment: Mapping[str, str]) -> str | None:
    """Return what a variable says; None where it says nothing."""
    text = environment.get(variable, "").strip()
    is_index = variable == "AWS_BATCH_JOB_NODE_INDEX" and text not in ("", "0")
    if is_index and text == environment.get("AWS_BATCH_JOB_MAIN_NODE_INDEX"):
        raise UserError("AWS_BATCH_JOB_MAIN_NODE_INDEX is not 0: make node 0 the main node of the job definition")
    if variable == "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS" and not text:
        # Batch tells the address of the main node to the others alone. The main node knows itself by its name.
        text = environment.get("HOSTNAME", "") if environment.get("AWS_BATCH_JOB_NODE_INDEX") == "0" else ""
    if not text:
        return None
    if variable == NAMED_BY_SLURM:
        return nodes_in(text)[0]
    return text.splitlines()[0].strip() if variable == "SKYPILOT_NODE_IPS" else text


def _one(what: str, said: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Return what all sources say. Raises UserError where two contradict each other."""
    (value, first), *others = said[what]
    for other, source in others:
        if other != value:
            raise UserError(f"{first}={value} and {source}={other} contradict each other; unset one of them")
    return value


def _number(text: str, source: str, least: int, most: int) -> int:
    if ":" in text:
        raise UserError(f"{source} {text}: a study compares fixed work, so the number of hosts must be one number")
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UserError(f"{source} must be a whole number from {least} to {most:,}, got {text!r}")
    return int(text)


def _seconds(given: tuple[str, str] | None) -> float:
    text = given[0] if given else str(DEFAULT_JOIN_S)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= MOST_JOIN_S:
        raise UserError(f"{JOIN_FLAG} must be between 1 and {MOST_JOIN_S:,.0f} seconds, got {text!r}")
    return value


def _port(environment: Mapping[str, str]) -> int:
    """Return the port of a job: by Slurm's number of it, so that two jobs on a host have two."""
    job = environment.get("SLURM_JOB_ID", "") if _is_step(environment) else ""
    return SLURM_PORTS + int(job[-4:]) if job.isdecimal() else DEFAULT_PORT


def _is_step(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process. The variables of a batch script speak of all its nodes, and it is on one."""
    return environment.get("SLURM_STEP_ID", "").isdecimal()


def _require_one_task(environment: Mapping[str, str], count: int) -> None:
    if not _is_step(environment) or environment.get("SLURM_STEP_NUM_NODES") != str(count):
        return
    tasks = environment.get("SLURM_STEP_NUM_TASKS", str(count))
    if environment.get("SLURM_LOCALID", "0") != "0" or tasks != str(count):
        raise UserError(
            f"Slurm started {tasks} tasks on {count} nodes, and each host needs one, which starts the ranks; "
            "use srun --ntasks-per-node=1"
        )


def _system(source: str) -> str:
    """Return how the line that says where this place came from calls a flag or a variable."""
    if source.startswith("--"):
        return "flags"
    return next(system for system, variables in SYSTEMS.items() if source in variables.values())
