"""Judge the records of a study: does data-parallel training pay, where does the time go, does it learn the same?

python compare.py                     the newest study in results/
python compare.py results/STUDY       one study; report.html, summary and charts go there
python compare.py results/*/          several studies side by side
python compare.py A.json B.json ...   these records
"""

import gc
from argparse import SUPPRESS, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ddpbench import config, errors
from ddpbench.judge import gates, judgement, study
from ddpbench.show import explain, layout, report, summary, verdict


def main() -> None:
    """Read and judge the records; then print and draw the report, or give the one answer that was asked for."""
    options = parse()
    studies = study.load_each(options.paths, allow_injected=options.allow_injected)
    judgements = [judgement.judge(each, margin=gates.margin(options.margin)) for each in studies]
    with gates.enforced(judgements, options):
        if options.next_batches_to is not None:
            summary.write_next_batches(judgements[0].sweep, options.next_batches_to)
        elif options.explain:
            print(explain.explain(judgements[0], layout.of_output()), end="")
        else:
            show(judgements, draws=not options.no_charts)


def show(judgements: list[judgement.Judgement], *, draws: bool) -> None:
    """Print the reports before any file is written."""
    verdicts, page = [verdict.write(each) for each in judgements], layout.of_output()
    print(report.format_all(judgements, verdicts, page), flush=True)
    if draws:
        from ddpbench.show import outputs  # imported late, because matplotlib takes longer to start than all the rest

        print("\n" + report.format_files(map(outputs.write_all, judgements, verdicts), page))


def parse() -> Namespace:
    """Read the command line. Raises UserError for flags and values that do not exist."""
    parser = config.Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("paths", nargs="*", type=Path, default=[Path("results")], help="records, or folders of them")
    add("--no-charts", action="store_true", help="print only; write nothing")
    add("--explain", action="store_true", help="print only where the time goes, in words")
    add("--next-batches-to", type=int, metavar="FD", help=SUPPRESS)  # for ddpbench/study, which runs a sweep
    add("--margin", type=float, default=0.3, metavar="POINTS", help="accuracy loss that matters (default: 0.3)")
    add("--fail-below-speedup", type=float, metavar="X", help="exit with 1 if the speedup is below X")
    add("--fail-below-efficiency", type=float, metavar="X", help="exit with 1 if the efficiency, 0 to 1, is below X")
    add("--fail-if-accuracy-lost", type=float, metavar="POINTS", help="exit with 1 if more accuracy is lost than this")
    add("--allow-injected", action="store_true", help="judge runs that a test has slowed on purpose")
    return parser.parse_args()


if __name__ == "__main__":
    gc.disable()  # the program ends soon: looking for cycles among charts would take 7 % of its time
    errors.run(main)
