"""Judge the records of a study: does data-parallel training pay here, where does the rest go, does it learn the same?

python compare.py                     the newest study in results/
python compare.py results/STUDY       one study; its charts, report.html and summary go into its folder
python compare.py results/*/          several studies side by side
python compare.py A.json B.json ...   these records
"""

import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from ddpbench import errors
from ddpbench.config import Parser
from ddpbench.judge import judgement, report, study, summary, sweep, verdict


def main() -> None:
    """Read, judge, print, draw."""
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("results")], help="records, or folders of them")
    parser.add_argument("--no-charts", action="store_true", help="print only; write nothing")
    parser.add_argument(
        "--margin",
        type=float,
        default=100 * judgement.MARGIN,
        metavar="POINTS",
        help="difference in accuracy that matters, in points (default: %(default)g)",
    )
    for name, what in (("speedup", "the speedup"), ("efficiency", "the efficiency, 0 to 1,")):
        parser.add_argument(f"--fail-below-{name}", type=float, metavar="X", help=f"exit 1 if {what} is below X")
    parser.add_argument("--fail-if-accuracy-lost", type=float, metavar="POINTS", help="exit 1 if more is lost")
    parser.add_argument("--allow-injected", action="store_true", help="judge runs that a test has spoilt on purpose")
    parser.add_argument("--predict", action="store_true", help="print only the batch that a sweep should check next")
    told = parser.parse_args()
    judgement.check_margin(told.margin)

    studies = study.load_each(told.paths, allow_injected=told.allow_injected)
    judged = [judgement.of(each, margin=told.margin / 100) for each in studies]
    if told.predict:
        print(*sweep.next_batches(judged[0].sweep))
        return
    verdicts = [verdict.of(each) for each in judged]
    print("\n\n\n".join(map(report.format_report, judged, verdicts)))
    if len(judged) > 1:
        print(f"\n\n{report.format_table(report.studies_table(list(zip(judged, verdicts, strict=True))))}")
    if not told.no_charts:
        sys.stdout.flush()
        from ddpbench.judge import outputs  # here, because matplotlib takes longer to start than all the rest

        for each, reached in zip(judged, verdicts, strict=True):
            print(f"\nin {each.study.folder}: {', '.join(path.name for path in outputs.write_all(each, reached))}")
    failed = [summary.gate(each, told) for each in judged]
    if any(failed):
        print(f"compare.py: {next(filter(None, failed))}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    errors.run(main)
