"""What a person sees of a run of the tests: before it how many and how long, after it one line."""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

SECONDS = "ddpbench/seconds"  # in pytest's cache: how long the last run of the same words took
MEASURED_S = {(): 480.0, ("-m", "not slow"): 20.0}  # on two cores, for a checkout whose tests have never run


def in_words(seconds: float) -> str:
    """Return a duration as in "6 min 20 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def first_line(num_tests: int, words: Sequence[str], last_s: float | None) -> str:
    """Return how many tests there are and, where it is known, about how long they take."""
    if last_s is not None:
        return f"{num_tests} tests; the last such run took {in_words(last_s)}"
    if tuple(words) in MEASURED_S:
        return f"{num_tests} tests, about {in_words(MEASURED_S[tuple(words)])} on two cores"
    return f"{num_tests} tests"


def last_line(counts: Mapping[str, int], reasons: Sequence[str], seconds: float) -> str:
    """Return what came of the tests, and which were left out, by reason. -v names each of those."""
    ended = [f"{counts[how]} {how}" for how in ("failed", "error", "passed", "xfailed") if counts.get(how)]
    line = f"{', '.join(ended) or 'no tests ran'} in {in_words(seconds)}"
    left_out = [f"{count} ({reason})" for reason, count in Counter(reasons).most_common()]
    if counts.get("deselected"):
        left_out.append(f"{counts['deselected']} (not selected)")
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line


class Terminal:
    """Prints both lines. The first needs the number of tests, which only a worker knows where there are several."""

    def __init__(self, config: pytest.Config, reporter: pytest.TerminalReporter) -> None:
        self._cache, self._reporter = getattr(config, "cache", None), reporter  # -p no:cacheprovider
        self._words = [*config.invocation_params.args]
        self._began, self._is_announced = time.monotonic(), False
        reporter.summary_stats = self.print_last_line  # in place of pytest's own, which gives no reasons

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> str:
        return first_line(len(items), self._words, self._last_s())

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if not self._is_announced:
            self._is_announced = True
            self._reporter.ensure_newline()
            self._reporter.write_line(first_line(len(ids), self._words, self._last_s()))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if self._cache is not None and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            all_s = self._cache.get(SECONDS, {})
            self._cache.set(SECONDS, all_s | {" ".join(self._words): time.monotonic() - self._began})

    def print_last_line(self) -> None:
        stats = self._reporter.stats
        counts = {how: len(reports) for how, reports in stats.items()}
        reasons = [re.sub("^Skipped: ", "", report.longrepr[2]) for report in stats.get("skipped", [])]
        markup = {"red": True} if counts.get("failed") or counts.get("error") else {"green": True}
        self._reporter.write_line(last_line(counts, reasons, time.monotonic() - self._began), **markup)

    def _last_s(self) -> float | None:
        return None if self._cache is None else self._cache.get(SECONDS, {}).get(" ".join(self._words))
