"""What must be equal between runs before one is divided by another."""

from collections.abc import Sequence

import msgspec

from ddpbench.record import Record

# Runs on other hardware, with other software or other settings answer different questions. Runs may differ in their arm
# (kind, world size, threads per rank, comm), in their seed, and in when they were started.
SAME_ENVIRONMENT = ("cpu_model", "cpu_capability", "cores", "gpu_models", "torch", "blas", "variables")
# A short timed run is compared step by step, at a batch size that its row names. It has no accuracy to reach.
FREE_IN_TIMED = ("epochs", "global_batch", "steps", "target_accuracy")


def conditions(record: Record) -> dict[str, str]:
    """Return everything that must be equal, as text by name."""
    machine = {f"environment.{name}": _text(getattr(record.environment, name)) for name in SAME_ENVIRONMENT}
    settings = {name: _text(value) for name, value in msgspec.to_builtins(record.settings).items()}
    return settings | machine | {"parameters": str(record.parameters), "test_set": str(record.test_set)}


def differences(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the conditions that differ, each with its values in the order of the records.

    If one of the records is of a short timed run, FREE_IN_TIMED may differ.
    """
    free = FREE_IN_TIMED if any(record.settings.steps for record in records) else ()
    all_conditions = [conditions(record) for record in records]
    names = sorted(set().union(*all_conditions) - set(free))
    values = {name: list(dict.fromkeys(each.get(name, "absent") for each in all_conditions)) for name in names}
    return {name: different for name, different in values.items() if len(different) > 1}


def describe(different: dict[str, list[str]]) -> str:
    """Return differences as text: `lr differs (0.01, 0.1)`."""
    return "; ".join(f"{name} differs ({', '.join(values)})" for name, values in different.items())


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]" if value else "none"
    return "none" if value is None else str(value)
