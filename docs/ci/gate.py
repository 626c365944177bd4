"""Measure old and new code beside each other on this machine, and say whether training has become slower.

python docs/ci/gate.py --task task.py --base OLD --head NEW       two checkouts of your repository
python docs/ci/gate.py --task task.py --stored STUDY --head NEW   a stored study of this machine, and one checkout
python docs/ci/gate.py --task task.py --base OLD --head NEW -- --world-sizes 2   what follows -- goes to launch.sh

It needs no code host: the action in .github/actions/study calls it, and so may you. The studies and gate.md, which says
the answer, are in the folder --out. Exit codes: 0 not slower, or it cannot be told; 1 slower; 2 bad input; any other
one is that of the study which failed.
"""

import os
import re
import subprocess
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))  # the script is called by its path, from any folder

from ddpbench import errors, flags  # noqa: E402
from ddpbench.errors import DdpbenchError, UserError, one_line  # noqa: E402
from ddpbench.files import write_whole  # noqa: E402
from ddpbench.judge import change, gates, judgement, study  # noqa: E402
from ddpbench.judge.change import Change  # noqa: E402
from ddpbench.judge.outcome import Outcome  # noqa: E402
from ddpbench.record import Record  # noqa: E402
from ddpbench.show import report  # noqa: E402
from ddpbench.turns import Launch  # noqa: E402

TWICE_FROM_MINUTES = 2.0  # a study takes a quarter of a minute to start and to judge, which short ones do not pay twice
LEAST_MINUTES = 0.1  # that launch.sh accepts
PAGE = "gate.md"
ANSWERS: dict[Outcome, str] = {
    "slower": "Training has become slower.",
    "faster": "Training has become faster.",
    "no_difference": "Training is as fast as before.",
    "cannot_tell": "It cannot be told whether training has become slower: more minutes narrow the interval.",
}

Measured = TypeVar("Measured", Record, Launch)


class StudyFailedError(DdpbenchError):
    """A study ended without an answer, and has printed why."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"the study of {name} ended with exit code {exit_code}; the lines above say why")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Side:
    """The code of one commit, and where its study goes."""

    name: str
    task: str  # as launch.sh is told
    results: Path

    @property
    def is_there(self) -> bool:
        """Whether the commit has the file of the task."""
        return Path(re.sub(r"\.py:\w+$", ".py", self.task)).is_file()


def main() -> None:
    """Measure, compare, and write the page. Raises GateFailedError where it has become slower."""
    options = parse()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    try:
        criteria = gates.criteria(options)
        old, new = measured(options)
        judged = [judgement.judge(each, criteria) for each in load(old, new)]
        changed = change.change(*judged) if len(judged) == 2 else None
        text = page(changed, code_changes(old, new), (judged[-1].study.folder / "summary.md").read_text())
    except DdpbenchError as problem:
        write_whole(out / PAGE, f"**No answer.** {one_line(str(problem))}\n".encode())
        raise
    with gates.enforced(judged, changed, options):
        write_whole(out / PAGE, text.encode())
        print(text)


def parse() -> Namespace:
    """Read the command line. Raises UserError for what no gate could use."""
    parser = flags.Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--task", required=True, help="FILE.py or FILE.py:CLASS, as a path inside the checkouts")
    parser.add_argument("--head", type=Path, required=True, metavar="FOLDER", help="checkout of the new code")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="checkout of the old code")
    parser.add_argument("--stored", type=Path, metavar="FOLDER", help="a study of the old code on this machine")
    parser.add_argument("--minutes", type=float, default=6.0, metavar="X", help="of launches, over all (default: 6)")
    parser.add_argument("--out", type=Path, default=Path("gate"), metavar="FOLDER", help="for studies (default: gate)")
    parser.add_argument("flags", nargs="*", metavar="-- FLAGS", help="of launch.sh speed")
    gates.add_flags(parser)
    options = parser.parse_args()
    if (options.base is None) == (options.stored is None):
        raise UserError("the gate compares with a checkout or with a stored study: give --base or --stored")
    if Path(options.task).is_absolute():
        raise UserError(f"--task {options.task}: give its path inside the checkouts, as in --task bench/task.py")
    if not LEAST_MINUTES <= options.minutes <= 1_440:
        raise UserError(f"--minutes must be between {LEAST_MINUTES} and 1,440, got {options.minutes:g}")
    options.fail_if_slower = True
    options.out = options.out.resolve()
    return options


def measured(options: Namespace) -> tuple[Path | None, Path]:
    """Carry out the studies. Returns the folder with the old study, None where there is none, and that with the new.

    Two checkouts are measured in the order old, new, new, old: a machine that becomes slower meanwhile then slows both
    alike. The second study of a commit adds launches to its first one.
    """
    new = Side("head", f"{options.head.resolve()}/{options.task}", options.out / "head")
    if not new.is_there:
        raise UserError(f"--task {options.task}: {options.head} has no such file")
    if options.stored is not None:
        study.load([options.stored])  # what cannot be read is refused before minutes are spent
        carry_out([new], options)
        return options.stored, new.results
    old = Side("base", f"{options.base.resolve()}/{options.task}", options.out / "base")
    if not old.is_there:
        carry_out([new], options)
        return None, new.results
    carry_out([old, new, new, old] if options.minutes >= TWICE_FROM_MINUTES else [old, new], options)
    return old.results, new.results


def carry_out(sides: list[Side], options: Namespace) -> None:
    """Carry out a study of each side in turn. One that was there before goes on. Raises StudyFailedError."""
    minutes, begun = max(LEAST_MINUTES, options.minutes / len(sides)), set[Side]()
    for side in sides:
        words = ["bash", str(PROJECT / "launch.sh"), "speed", "--task", side.task, "--results", str(side.results)]
        # The most precise answer that launch.sh may be asked for, so that it uses all of its minutes.
        words += ["--minutes", f"{minutes:g}", "--within", "0.1%", *options.flags]
        words += ["--more"] if side in begun else []
        begun.add(side)
        print(f"\n== {side.name}: {options.task}", flush=True)
        code = subprocess.run(words, env=os.environ | {"PYTHON": sys.executable}, check=False).returncode
        if code != 0:
            raise StudyFailedError(side.name, code if code > 0 else 128 - code)


def load(old: Path | None, new: Path) -> list[study.Study]:
    """Load the new study, and before it the old one, where there is one, as if it were of the new code.

    compare.py refuses studies of unlike code, because two tasks of one name may have nothing in common. Here the code
    is what changed, and everything else must be equal.
    """
    after = study.load([new])
    if old is None:
        return [after]
    before = study.load([old])
    records = [of_code(each, after.newest) for each in before.records]
    launches = [of_code(each, after.newest) for each in before.launches]
    return [replace(before, records=records, launches=launches), after]


def of_code(measured: Measured, new: Record | Launch) -> Measured:
    """Return a record as if its task had the code of another one: the digest of its file, and its network."""
    settings = msgspec.structs.replace(
        measured.settings, task_sha256=new.settings.task_sha256, model=new.settings.model
    )
    return msgspec.structs.replace(measured, settings=settings, parameters=new.parameters)


def code_changes(old: Path | None, new: Path) -> list[str]:
    """Return what has changed in the code that was measured, a sentence for each."""
    if old is None:
        return ["The old code has no such task, so there is nothing to compare with."]
    before, after = (study.load([folder]).newest for folder in (old, new))
    changes = []
    if before.settings.task_sha256 != after.settings.task_sha256:
        changes.append("The file of the task, or a file beside it that it imports, has changed.")
    if before.parameters != after.parameters:
        changes.append(f"The network has {after.parameters:,} parameters, before it had {before.parameters:,}.")
    return changes


def page(changed: Change | None, notes: list[str], summary: str) -> str:
    """Return the answer as Markdown: whether it has become slower, and the study of the new code, folded away."""
    parts = list[str]()
    if changed is not None:
        parts.append(f"**{ANSWERS[changed.outcome]}**")
        parts.append(f"````text\n{report.format_change(changed)}\n````")
    parts += [*notes, f"<details><summary>The study of the new code</summary>\n\n{summary.strip()}\n\n</details>"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    errors.run(main, name="gate.py")
