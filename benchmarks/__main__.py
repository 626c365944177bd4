"""Run every benchmark, one after the other, and rewrite the tables of benchmarks/README.md.

python -m benchmarks              about two hours on two quiet cores
python -m benchmarks --tables     rewrite the tables alone, from the figures in benchmarks/last/
python -m benchmarks --headline   print the seconds to 99 %, for the README
"""

import ast
import json
import subprocess
import sys
import textwrap
from statistics import mean, median, stdev

from benchmarks.rounds import LAST, summary
from ddpbench.files import write_whole

README = LAST.parent / "README.md"
MARK = "<!-- everything below is written by: python -m benchmarks -->\n"
TWO_RANKS = "torchrun --nproc_per_node=2 -m"
COMMANDS = {  # in the order of the README: what people ask first comes first
    "time_to_accuracy": "python -m benchmarks.time_to_accuracy",
    "scaling": "python -m benchmarks.scaling",
    "allreduce": "python -m benchmarks.allreduce",
    "between": "python -m benchmarks.between",
    "foretold": "python -m benchmarks.foretold",
    "unlike_hosts": "python -m benchmarks.unlike_hosts",
    "textbook": "python -m benchmarks.textbook",
    "images": "python -m benchmarks.images",
    "accuracy": "python -m benchmarks.accuracy",
    "startup": "python -m benchmarks.startup",
    "recovery": "python -m benchmarks.recovery",
    "overhead": "python -m benchmarks.overhead",
    "instrumentation": f"{TWO_RANKS} benchmarks.instrumentation",
    "studies": "python -m benchmarks.studies 10 results/repeated",
    "looks": "python -m benchmarks.looks results/repeated",
    "apart": "python -m benchmarks.apart",
    "forks": "python -m benchmarks.forks 4 6 results/forks",
}


def main() -> None:
    """Run, then write."""
    if "--headline" in sys.argv[1:]:
        print("\n".join(headline()))
        return
    if "--tables" not in sys.argv[1:]:
        for number, (name, command) in enumerate(COMMANDS.items(), 1):
            print(f"\n[{number}/{len(COMMANDS)}] {name}", flush=True)
            program = command.replace("torchrun", "python -m torch.distributed.run").split()
            subprocess.run([sys.executable, *program[1:]], check=True)
    write_whole(README, page().encode())


def headline() -> list[str]:
    """Return the table of seconds to accuracy: an arm a row, a clock a column."""
    last = json.loads((LAST / "time_to_accuracy.json").read_text())
    *arms, textbook = last["cases"]
    clocks = ("training alone", "training and evaluation", "the whole process")
    lines = [
        f"| median (lowest - highest) | {' | '.join(clocks)} | test accuracy | seeds below 99 % |",
        "| - " * 6 + "|",
    ]
    for arm in arms:
        figures = arm["figures"]
        accuracy = figures["test accuracy"]["values"]
        below = f"{sum(value < 99 for value in accuracy)} of {len(accuracy)}"
        took = " | ".join(summary(figures[clock]["values"], "s") for clock in clocks)
        learnt = f"{mean(accuracy):.2f} ± {stdev(accuracy):.2f} %, lowest {min(accuracy):.2f}"
        lines.append(f"| {arm['title']} | {took} | {learnt} | {below} |")
    alone = textbook["figures"]["training alone"]["values"]
    lines.append(f"| {textbook['title']} | {summary(alone, 's')} | not measured | not measured | at least 99 % | - |")
    return [*lines, "", *allreduce()]


def allreduce() -> list[str]:
    """Return the sentence about combining gradients."""
    cases = json.loads((LAST / "allreduce.json").read_text())["cases"]
    small, *large = [{name: median(each["values"]) for name, each in case["figures"].items()} for case in cases]
    against = sorted(case["shm / Open MPI"] for case in large)
    said = (
        f"Gradients are combined in shared memory, through DDP's communication hook: 4 KB between two ranks take "
        f"{small['shm']:.1f} us, 1/{small['gloo / shm']:.0f} of gloo's time; 100 KB to 64 MB take {against[0]:.2f} to "
        f"{against[-1]:.2f} times as long as Open MPI."
    )
    return textwrap.wrap(said, 120)


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
