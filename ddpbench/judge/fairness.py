"""What must be equal between runs before one is divided by the other."""

from collections.abc import Sequence

import msgspec

from ddpbench.record import Record

# Runs on different hardware or software answer different questions. What an arm is (kind, world size,
# threads per rank, comm), the seed and the moment are the only things that may differ besides.
SAME_ENVIRONMENT = ("cpu_model", "cpu_capability", "cores", "gpu_models", "torch", "blas", "variables")
# A short timed run is divided by others step by step, at a batch size that its row names; it has no accuracy to reach.
FREE_IN_TIMED = ("epochs", "global_batch", "steps", "target_accuracy")


def conditions(record: Record) -> dict[str, str]:
    """Return all that must be equal, by name, as text."""
    machine = {f"environment.{name}": _text(getattr(record.environment, name)) for name in SAME_ENVIRONMENT}
    settings = {name: _text(value) for name, value in msgspec.to_builtins(record.settings).items()}
    return settings | machine | {"parameters": str(record.parameters), "test_set": str(record.test_set)}


def differences(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the conditions that differ, each with its values in the order of the records.

    Where one of them is a short timed run, all of FREE_IN_TIMED may differ.
    """
    free = FREE_IN_TIMED if any(record.settings.steps for record in records) else ()
    all_conditions = [conditions(record) for record in records]
    names = sorted(set().union(*all_conditions) - set(free))
    values = {name: list(dict.fromkeys(each.get(name, "absent") for each in all_conditions)) for name in names}
    return {name: different for name, different in values.items() if len(different) > 1}


def describe(different: dict[str, list[str]]) -> str:
    """Say which conditions differ: `lr differs (0.01, 0.1)`."""
    return "; ".join(f"{name} differs ({', '.join(values)})" for name, values in different.items())


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]" if value else "none"
    return "none" if value is None else str(value)
