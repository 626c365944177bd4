"""Judge the records of a study: does data-parallel training pay, where does the rest go, does it learn the same?

python compare.py                     the newest study in results/
python compare.py results/STUDY       one study; report.html, summary and charts go there
python compare.py results/*/          several studies side by side
python compare.py A.json B.json ...   these records
"""

import gc
from argparse import SUPPRESS, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ddpbench import errors
from ddpbench.config import Parser
from ddpbench.judge import judgement, study, sweep
from ddpbench.show import explain, layout, report, summary, verdict


def main() -> None:
    """Read and judge; then print and draw, or give the one answer that was asked for."""
    asked = parse()
    studies = study.load_each(asked.paths, allow_injected=asked.allow_injected)
    judged = [judgement.of(each, margin=judgement.margin(asked.margin)) for each in studies]
    with summary.required(judged, asked):
        if asked.next_batches_to is not None:
            sweep.answer(judged[0].sweep, asked.next_batches_to)
        elif asked.explain:
            print(explain.explain(judged[0], layout.of_output()), end="")
        else:
            show(judged, draws=not asked.no_charts)


def show(judged: list[judgement.Judgement], *, draws: bool) -> None:
    """Print everything before any file is written."""
    reached, page = [verdict.of(each) for each in judged], layout.of_output()
    print(report.format_all(judged, reached, page), flush=True)
    if draws:
        from ddpbench.show import outputs  # not sooner: matplotlib takes longer to start than all the rest

        print("\n" + "\n".join(outputs.write_all(*each, page) for each in zip(judged, reached, strict=True)))


def parse() -> Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("paths", nargs="*", type=Path, default=[Path("results")], help="records, or folders of them")
    add("--no-charts", action="store_true", help="print only; write nothing")
    add("--explain", action="store_true", help="print only why it is slower, term by term")
    add("--next-batches-to", type=int, metavar="FD", help=SUPPRESS)  # for the program that runs a sweep
    add("--margin", type=float, default=0.3, metavar="POINTS", help="of accuracy that matter (default: 0.3)")
    add("--fail-below-speedup", type=float, metavar="X", help="exit with 1 if the speedup is below X")
    add("--fail-below-efficiency", type=float, metavar="X", help="exit with 1 if the efficiency, 0 to 1, is below X")
    add("--fail-if-accuracy-lost", type=float, metavar="POINTS", help="exit with 1 if more accuracy is lost")
    add("--allow-injected", action="store_true", help="judge runs that a test has spoilt on purpose")
    return parser.parse_args()


if __name__ == "__main__":
    gc.disable()  # a short life: looking for cycles in charts costs 7 % of it
    errors.run(main)
