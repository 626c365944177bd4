"""Judge the records of a study: does data-parallel training pay here, where does the rest go, does it learn the same?

python compare.py                     the newest study in results/
python compare.py results/STUDY       one study; its charts, report.html and summary go into its folder
python compare.py results/*/          several studies side by side
python compare.py A.json B.json ...   these records
"""

import gc
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ddpbench import errors
from ddpbench.config import Parser
from ddpbench.judge import explain, judgement, report, study, summary, sweep, verdict


def main() -> None:
    """Read, judge, print, draw."""
    told = parse()
    margin = judgement.margin(told.margin)
    studies = study.load_each(told.paths, allow_injected=told.allow_injected)
    judged = [judgement.of(each, margin=margin) for each in studies]
    if told.predict:
        print(*sweep.next_batches(judged[0].sweep))
    elif told.explain:
        print(explain.explain(judged[0]), end="")
    else:
        reached = [verdict.of(each) for each in judged]
        print(report.format_all(judged, reached))
        if not told.no_charts:
            sys.stdout.flush()
            from ddpbench.judge import outputs  # here, because matplotlib takes longer to start than all the rest

            print("\n" + "\n".join(map(outputs.write_all, judged, reached)))
        summary.require(judged, told)


def parse() -> Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    add = parser.add_argument
    add("paths", nargs="*", type=Path, default=[Path("results")], help="records, or folders of them")
    add("--no-charts", action="store_true", help="print only; write nothing")
    add("--explain", action="store_true", help="print only why it is slower, term by term")
    add("--predict", action="store_true", help="print only the batch that a sweep should check next")
    add("--margin", type=float, default=0.3, metavar="POINTS", help="of accuracy that matter (default: 0.3)")
    add("--fail-below-speedup", type=float, metavar="X", help="exit with 1 if the speedup is below X")
    add("--fail-below-efficiency", type=float, metavar="X", help="exit with 1 if the efficiency, 0 to 1, is below X")
    add("--fail-if-accuracy-lost", type=float, metavar="POINTS", help="exit with 1 if more accuracy is lost")
    add("--allow-injected", action="store_true", help="judge runs that a test has spoilt on purpose")
    return parser.parse_args()


if __name__ == "__main__":
    gc.disable()  # a short life: looking for cycles in charts costs 7 % of it
    errors.run(main)
