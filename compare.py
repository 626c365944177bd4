"""Judge the records of a study: is data-parallel training faster here, and does it learn the same?

python compare.py                     the newest study in results/
python compare.py results/STUDY       one study
python compare.py A.json B.json ...   these records
"""

import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from ddpbench import errors
from ddpbench.config import Parser
from ddpbench.judge import arms, report, study


def main() -> None:
    """Read, judge, print, draw."""
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("results")], help="records, or a folder of them")
    parser.add_argument("--no-charts", action="store_true", help="print only")
    told = parser.parse_args()

    judged = study.load(told.paths)
    results = arms.judge(judged)
    print(report.format_report(judged, results))
    if not told.no_charts:
        sys.stdout.flush()
        from ddpbench.judge import charts  # here, because matplotlib takes longer to start than all the rest

        written = charts.draw_all(judged, results)
        print(f"\ncharts in {judged.folder}: {', '.join(path.name for path in written)}")


if __name__ == "__main__":
    errors.run(main)
