"""Text for terminals and logs of any encoding: what cannot be shown gets a plain stand-in, and nothing crashes."""

import codecs
import io
import sys
import unicodedata

PLAIN = {"±": "+-", "×": "x", "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "≤": "<=", "≥": ">=", "µ": "u"}
PLAIN |= {"→": "->", "‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " "}


def readable_output() -> None:
    """Make standard output and error show every text, whatever the locale and PYTHONIOENCODING say."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed; something else where it is captured
            stream.reconfigure(errors=HANDLER)


def showable(text: str, encoding: str) -> str:
    """Return `text` as a stream of that encoding will show it, so that it can be laid out by its length."""
    return text.encode(encoding, HANDLER).decode(encoding)


def _stand_in(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    return "".join(map(_plain, problem.object[problem.start : problem.end])), problem.end


def _plain(char: str) -> str:
    """Return a character in ASCII: by the table, without its accents, or as a question mark."""
    if char in PLAIN:
        return PLAIN[char]
    return unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?"


HANDLER = "ddpbench.plain"
codecs.register_error(HANDLER, _stand_in)
