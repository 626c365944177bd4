"""What must be equal between runs before one is divided by another."""

from collections.abc import Sequence

import msgspec

from ddpbench.record import Environment, Record
from ddpbench.turns import Launch

# Runs on other hardware, with other software or other settings answer different questions. Runs may differ in their arm
# (kind, world size, threads per rank, comm), in their seed, and in when they were started.
SAME_ENVIRONMENT = ("cpu_model", "cpu_capability", "cores", "gpu_models", "torch", "blas", "variables")


def conditions(measured: Record | Launch) -> dict[str, str]:
    """Return everything that must be equal, as text by name. A launch of turns has no metric.

    A run has the hosts of its arm, and a launch all of them: of both only the hosts that both have are compared.
    """
    machine = _machine("environment", measured.environment)
    for number, other in enumerate(measured.others, 1):
        machine |= _machine(f"host {number}", other)
    hosts = {"hosts": str(measured.hosts)} if isinstance(measured, Launch) else {}  # runs of one study may have fewer
    settings = {name: _text(value) for name, value in msgspec.to_builtins(measured.settings).items()}
    metric = msgspec.to_builtins(measured.metric) if isinstance(measured, Record) else {}
    tested = {f"metric.{name}": _text(value) for name, value in metric.items()}
    return settings | machine | hosts | {"parameters": str(measured.parameters)} | tested


def differences(measured: Sequence[Record | Launch]) -> dict[str, list[str]]:
    """Return the conditions that differ, each with its values in the order given."""
    all_conditions = [conditions(each) for each in measured]
    names = sorted(set.intersection(*map(set, all_conditions))) if all_conditions else []
    values = {name: list(dict.fromkeys(each[name] for each in all_conditions)) for name in names}
    return {name: different for name, different in values.items() if len(different) > 1}


def machine_differences(one: Environment, other: Environment) -> dict[str, list[str]]:
    """Return in what two machines differ of that which decides speed, with the values of both."""
    pairs = {name: [_text(getattr(each, name)) for each in (one, other)] for name in SAME_ENVIRONMENT}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}


def describe(different: dict[str, list[str]]) -> str:
    """Return differences as text: `lr differs (0.01, 0.1)`."""
    return "; ".join(f"{name} differs ({', '.join(values)})" for name, values in different.items())


def _machine(name: str, found: Environment) -> dict[str, str]:
    return {f"{name}.{field}": _text(getattr(found, field)) for field in SAME_ENVIRONMENT}


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]" if value else "none"
    return "none" if value is None else str(value)
