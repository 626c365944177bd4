"""The answer of turns in words."""

import pytest

from ddpbench.show import turns
from tests.judge.test_turns import PARALLEL, REFERENCE, TRUTH, made


def test_the_answer_names_the_outcome_the_interval_and_every_cause() -> None:
    launches = [made(n, lambda turn, _, n=n: 1 + 0.002 * n * (turn == PARALLEL)) for n in range(4)]
    lines = turns.answer(launches, 0.03)
    text = "\n".join(lines)

    assert lines[0] == "SLOWER   ddp 2 x 1, shm against baseline, 2 threads"
    assert "  speed    20 % slower: 21 % slower to 20 % slower (95 %, n = 4 launches)" in lines
    assert "  why      15.04 ms a step; 10.00 ms with ideal workers" in lines
    assert "+1.50 (+1.50 to +1.50) ms  sharing the machine" in text
    assert "2 x 1, never communicating       256      12.50  0.96x (0.96 - 0.96)" in lines
    assert "baseline, 2 threads              256      12.00  the reference" in lines
    assert max(map(len, lines)) <= 96


def test_causes_that_cannot_be_told_from_zero_share_a_line() -> None:
    noisy = [made(n, lambda turn, _, n=n: 1 + 0.1 * (n - 1.5) * (turn.arm.comm == "nothing")) for n in range(4)]
    lines = turns.answer(noisy, 0.03)
    text = " ".join(" ".join(lines).split())

    assert "together, none told from zero: DDP's bookkeeping, exchanging gradients" in text
    assert any(line.endswith("  smaller batches") for line in lines)
    assert max(map(len, lines)) <= 90


def test_one_launch_has_no_interval_and_cannot_tell() -> None:
    lines = turns.answer([made(0)], 0.03)

    assert lines[0].startswith("CANNOT TELL")
    assert lines[1] == "  speed    20 % slower (one launch: no interval)"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.08, "8 % faster"), (0.8, "20 % slower"), (1.004, "0.4 % faster"), (1.0, "equally fast"), (2.5, "150 % faster")],
)
def test_a_ratio_in_words(ratio: float, text: str) -> None:
    assert turns.percent(ratio) == text


def test_the_arms_are_those_of_the_launch() -> None:
    lines = turns.answer([made(0)], 0.03)
    table = lines[lines.index("") + 2 :]

    assert len(table) == len(TRUTH) + 1
    assert REFERENCE in TRUTH
