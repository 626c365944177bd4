"""What the launcher makes of what ranks have noted: one line, and an exit code."""

import signal
from typing import Any

import pytest

from ddpbench import launcher

Note = dict[str, Any]


def failed(rank: int, said: str, code: int, *, attempt: int = 0, peer: int | None = None, at: Any = (1, 37)) -> Note:
    what = {"what": "failed", "attempt": attempt, "rank": rank, "at": at, "time_ns": rank, "said": said, "code": code}
    return what | {"peer": peer, "final": False}


COMPLETE: Note = {"what": "complete", "attempt": 0, "rank": 0, "at": (3, 93), "time_ns": 9}
LOST = failed(0, "rank 1 did not bring its gradients: its process has ended", 4, peer=1)


@pytest.mark.parametrize(
    ("noted", "exit_codes", "signalled", "said", "code"),
    [
        ([COMPLETE], {}, None, "", 0),
        ([COMPLETE], {}, signal.SIGTERM, "", 0),
        ([], {}, None, "ranks ended without a word and without having completed the run", 4),
        ([], {}, signal.SIGTERM, "stopped by SIGTERM before it trained again; the same command with --resume", 75),
        ([failed(1, "x", 4)], {1: 4}, signal.SIGTERM, "stopped by SIGTERM before it trained again", 75),
        ([failed(1, "x", 5) | {"final": True}], {}, signal.SIGTERM, "rank 1 at epoch 1, step 37: x", 5),
        ([failed(1, "x", 4), failed(1, "x", 4, attempt=1)], {}, signal.SIGTERM, "rank 1 at epoch 1, step 37, tw", 4),
        ([], {1: -9}, None, "rank 1 was killed by signal 9 (often: out of memory)", 4),
        ([LOST], {0: 4, 1: -9}, None, "rank 1 at epoch 1, step 37 was killed by signal 9 (often: out of memory)", 4),
        ([LOST], {0: 4, 1: -11}, None, "rank 1 at epoch 1, step 37 was killed by signal 11", 4),
        (
            [LOST],
            {0: 6, 1: -14},
            None,
            "rank 1 at epoch 1, step 37 made no step within --timeout-s; its stacks",
            6,
        ),
        (
            [LOST],
            {0: 4},
            None,
            "rank 0 at epoch 1, step 37: rank 1 did not bring its gradients: its process has",
            4,
        ),
        ([LOST, failed(1, "ValueError: no", 4)], {0: 4, 1: 4}, None, "rank 1 at epoch 1, step 37: ValueError: no", 4),
        ([failed(1, "bad", 2, at=None)], {0: -15, 1: 2}, None, "rank 1: bad", 2),
        ([failed(1, "x", 4), failed(1, "x", 4, attempt=1)], {1: 4}, None, "rank 1 at epoch 1, step 37, twice and w", 4),
        ([failed(1, "x", 4), failed(1, "y", 5, attempt=1)], {1: 5}, None, "rank 1 at epoch 1, step 37: y", 5),
    ],
)
def test_the_cause_is_the_failure_that_blames_no_other_or_the_rank_that_was_killed(
    noted: list[Note], exit_codes: dict[int, int], signalled: int | None, said: str, code: int
) -> None:
    found, with_code = launcher.judge(noted, exit_codes, signalled)

    assert with_code == code
    assert found.startswith(said)
    assert bool(found) == bool(said)
