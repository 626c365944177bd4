"""Run every benchmark, one after the other, and rewrite the tables of benchmarks/README.md.

python -m benchmarks              about half an hour on two quiet cores
python -m benchmarks --tables     rewrite the tables alone, from the figures in benchmarks/last/
"""

import ast
import json
import subprocess
import sys

from benchmarks.rounds import LAST, summary
from ddpbench.files import write_whole

README = LAST.parent / "README.md"
MARK = "<!-- everything below is written by: python -m benchmarks -->\n"
TWO_RANKS = "torchrun --nproc_per_node=2 -m"
COMMANDS = {  # in the order of the README: what people ask first comes first
    "time_to_accuracy": "python -m benchmarks.time_to_accuracy",
    "scaling": f"{TWO_RANKS} benchmarks.scaling",
    "allreduce": "python -m benchmarks.allreduce",
    "textbook": "python -m benchmarks.textbook",
    "accuracy": "python -m benchmarks.accuracy",
    "startup": "python -m benchmarks.startup",
    "overhead": "python -m benchmarks.overhead",
    "instrumentation": f"{TWO_RANKS} benchmarks.instrumentation",
}


def main() -> None:
    """Run, then write."""
    if "--tables" not in sys.argv[1:]:
        for number, (name, command) in enumerate(COMMANDS.items(), 1):
            print(f"\n[{number}/{len(COMMANDS)}] {name}", flush=True)
            program = command.replace("torchrun", "python -m torch.distributed.run").split()
            subprocess.run([sys.executable, *program[1:]], check=True)
    write_whole(README, page().encode())


def page() -> str:
    """Return what benchmarks/README.md shall say: its own first words, then every benchmark's last figures."""
    return README.read_text().partition(MARK)[0] + MARK + "".join(map(chapter, COMMANDS))


def chapter(name: str) -> str:
    """Return one benchmark: what it is, its command, its figures, and the machine they are from."""
    doc = ast.get_docstring(ast.parse((LAST.parent / f"{name}.py").read_text())) or ""
    lines = [f"\n## {doc.splitlines()[0]}\n", f"`{COMMANDS[name]}`\n"]
    if not (LAST / f"{name}.json").exists():
        return "\n".join([*lines, "Not measured.\n"])
    last = json.loads((LAST / f"{name}.json").read_text())
    machine = last["machine"]
    lines.append(
        f"{last['date']}, {machine['cpu_model']} ({machine['cpu_capability']}), {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, torch {machine['torch']}, commit {machine['commit']}.\n"
    )
    for case in last["cases"]:
        lines += [f"| {case['title']} | median (lowest - highest) |", "| - | - |"]
        lines += [f"| {name} | {summary(each['values'], each['unit'])} |" for name, each in case["figures"].items()]
        lines.append("")
    if (LAST / f"{name}.png").exists():
        lines.append(f"![{doc.splitlines()[0]}](last/{name}.png)\n")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
