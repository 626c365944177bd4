"""Judge the records of a study: is data-parallel training faster, where does the time go, does it learn the same?

python compare.py                     the newest study in results/
python compare.py results/STUDY       one study; report.html, summary and charts go there
python compare.py OLD NEW             two studies of equal settings on one machine: has it become slower?
python compare.py results/*/          several studies side by side
python compare.py A.json B.json ...   these records
"""

import gc
from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from ddpbench import command, config, errors
from ddpbench.judge import change, gates, judgement, study
from ddpbench.show import answer, explain, layout, report


def main() -> None:
    """Read and judge the records; then print and draw the report, or give the one answer that was asked for."""
    options = parse()
    studies = study.load_each(options.paths, allow_injected=options.allow_injected)
    judgements = [judgement.judge(each, gates.criteria(options)) for each in studies]
    changed = change.between(judgements, is_required=options.fail_if_slower)
    with gates.enforced(judgements, changed, options):
        if options.explain:
            print(explain.explain(judgements[-1], layout.of_output()), end="")
        else:
            show(judgements, changed, draws=not options.no_charts)


def show(judgements: list[judgement.Judgement], changed: change.Change | None, *, draws: bool) -> None:
    """Print the reports before any file is written."""
    answers, page = [answer.write(each) for each in judgements], layout.of_output()
    if changed is not None:
        print(report.format_change(changed, page) + "\n\n")
    print(report.format_all(judgements, answers, page), flush=True)
    if draws:
        from ddpbench.show import outputs  # imported late, because matplotlib takes longer to start than all the rest

        print("\n" + report.format_files(map(outputs.write_all, judgements, answers), page))


def parse() -> Namespace:
    """Read the command line. Raises UserError for flags and values that do not exist."""
    page = (__doc__ or "").replace("python compare.py", command.COMPARE)
    parser = config.Parser(description=page, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.prog = command.COMPARE_NAME
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("results")], help="records, or folders of them")
    parser.add_argument("--no-charts", action="store_true", help="print only; write nothing")
    parser.add_argument("--explain", action="store_true", help="print only where the time goes, in words")
    parser.add_argument("--allow-injected", action="store_true", help="judge runs that a hook has watched")
    gates.add_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    gc.disable()  # the program ends soon: looking for cycles among charts would take 7 % of its time
    errors.run(main, name=command.COMPARE_NAME)
