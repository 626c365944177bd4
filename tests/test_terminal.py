"""What a person sees of a run of the tests."""

import pytest

from tests import terminal


def test_the_last_line_says_what_came_of_the_tests_and_what_was_left_out_and_why() -> None:
    reasons = ["no CUDA GPU", "long: bash launch.sh test -m long", "long: bash launch.sh test -m long"]

    assert terminal.last_line({"passed": 9, "skipped": 3}, reasons, 80.4) == (
        "9 passed in 1 min 20 s; left out: 2 (long: bash launch.sh test -m long), 1 (no CUDA GPU)"
    )
    assert terminal.last_line({"failed": 2, "passed": 7, "error": 1, "deselected": 4}, [], 9.6) == (
        "2 failed, 1 error, 7 passed in 10 s; left out: 4 (not selected)"
    )
    assert terminal.last_line({}, [], 0) == "no tests ran in 0 s"


@pytest.mark.parametrize(
    ("words", "last_s", "line"),
    [
        ([], 371, "9 tests; the last such run took 6 min 11 s"),
        ([], None, f"9 tests, about {terminal.in_words(terminal.MEASURED_S[()])} on two cores"),
        (["-k", "disk"], None, "9 tests"),
    ],
)
def test_the_first_line_says_how_many_tests_and_how_long_where_that_is_known(
    words: list[str], last_s: float | None, line: str
) -> None:
    assert terminal.first_line(9, words, last_s) == line
