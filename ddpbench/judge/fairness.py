"""What must be equal between runs before one is divided by another."""

from collections.abc import Sequence

import msgspec

from ddpbench.record import Record
from ddpbench.turns import Launch

# Runs on other hardware, with other software or other settings answer different questions. Runs may differ in their arm
# (kind, world size, threads per rank, comm), in their seed, and in when they were started.
SAME_ENVIRONMENT = ("cpu_model", "cpu_capability", "cores", "gpu_models", "torch", "blas", "variables")


def conditions(measured: Record | Launch) -> dict[str, str]:
    """Return everything that must be equal, as text by name. A launch of turns has no metric."""
    machine = {f"environment.{name}": _text(getattr(measured.environment, name)) for name in SAME_ENVIRONMENT}
    settings = {name: _text(value) for name, value in msgspec.to_builtins(measured.settings).items()}
    metric = msgspec.to_builtins(measured.metric) if isinstance(measured, Record) else {}
    tested = {f"metric.{name}": _text(value) for name, value in metric.items()}
    return settings | machine | {"parameters": str(measured.parameters)} | tested


def differences(measured: Sequence[Record | Launch]) -> dict[str, list[str]]:
    """Return the conditions that differ, each with its values in the order given."""
    all_conditions = [conditions(each) for each in measured]
    names = sorted(set.intersection(*map(set, all_conditions))) if all_conditions else []
    values = {name: list(dict.fromkeys(each[name] for each in all_conditions)) for name in names}
    return {name: different for name, different in values.items() if len(different) > 1}


def describe(different: dict[str, list[str]]) -> str:
    """Return differences as text: `lr differs (0.01, 0.1)`."""
    return "; ".join(f"{name} differs ({', '.join(values)})" for name, values in different.items())


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]" if value else "none"
    return "none" if value is None else str(value)
