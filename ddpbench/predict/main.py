"""The command `predict`: how long several hosts would take, and what they would cost, before they are paid for."""

from collections.abc import Sequence
from datetime import datetime, timezone

import msgspec
from msgspec.structs import replace

from ddpbench.arm import Arm
from ddpbench.files import write_whole
from ddpbench.predict import inputs, past, text
from ddpbench.predict.draws import Dice, band
from ddpbench.predict.foretold import Basis, Foretold, answer
from ddpbench.predict.inputs import Inputs
from ddpbench.predict.model import Layout, Model
from ddpbench.predict.options import Options, read
from ddpbench.predict.past import Prediction


def main(words: Sequence[str]) -> int:
    """Foretell, print, draw, and keep the predictions. Returns the exit code. Raises UserError for bad input."""
    options, dice = read(words), Dice()
    collected = inputs.collect(options, dice)
    error = dice.factor(collected.error.spread, collected.error.freedom)
    model = Model(collected.measured, collected.network, collected.work, error, dice)
    model.require(options.hosts, collected.measured_hosts)
    layouts = [model.layout(hosts) for hosts in options.hosts]
    basis = Basis(collected.study.name, collected.subject(), collected.lines(), collected.unit)
    found = answer(layouts, options.price_per_hour, basis, is_weak=options.is_weak)
    made = [_prediction(layout, collected) for layout in layouts if layout.hosts > 1]
    tested = [
        each for each in collected.before if each.result is not None and any(each.is_alike(other) for other in made)
    ]
    if options.writes:
        past.write(options.results, past.added(collected.before, made))
    if options.is_json:
        whole = {"foretold": found, "tested": tested}
        print(msgspec.json.format(msgspec.json.encode(whole), indent=2).decode())
    else:
        print("\n".join([text.screen(found), *text.tested(tested)]), flush=True)
    if options.writes:
        _draw(found, tested, collected, options)
    return 0


def _draw(found: Foretold, tested: Sequence[Prediction], collected: Inputs, options: Options) -> None:
    from ddpbench.predict import chart  # imported late, because matplotlib takes longer to start than all the rest

    picture = chart.chart(found, tested)
    path = collected.study.folder / f"{picture.slug}.png"
    write_whole(path, picture.png)
    if not options.is_json:
        print(f"\nwritten: {path}")


def _prediction(layout: Layout, collected: Inputs) -> Prediction:
    """Return a layout as it is kept, until it is run."""
    step = band(layout.step_s)
    rank, net = collected.measured.rank, collected.network
    return Prediction(
        made_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        link=net.source,
        settings=replace(collected.launch.settings, global_batch=layout.global_batch),
        arm=Arm("ddp", layout.hosts * rank.per_host, rank.threads, net.comm, layout.hosts),
        step_s=step.value,
        low_80_s=step.low_80,
        high_80_s=step.high_80,
        low_95_s=step.low_95,
        high_95_s=step.high_95,
    )
