"""Keep the README true: rerun the commands whose output it shows, and write that output back.

python docs/refresh.py            rewrite the blocks of README.md and the charts of docs/example
python docs/refresh.py --check    change nothing; exit 1 and name the commands whose output has changed

A block is a comment `<!-- output of: COMMAND -->` and the fenced block after it, or, for output that is Markdown
itself, `<!-- text of: COMMAND -->`, that text, and `<!-- end of text -->`.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent
README = PROJECT / "README.md"
FENCED = re.compile(r"(<!-- output of: (?P<command>[^\n]+?) -->\n```\w*\n)(?P<shown>.*?)(```\n)", re.S)
MARKDOWN = re.compile(r"(<!-- text of: (?P<command>[^\n]+?) -->\n\n)(?P<shown>.*?)(\n<!-- end of text -->\n)", re.S)


def output_of(command: str) -> str:
    """Run a command of the README in the project's folder. Returns what it prints."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False).stdout


def stale(text: str) -> list[str]:
    """Return the commands whose output is not what the text shows."""
    blocks = [*FENCED.finditer(text), *MARKDOWN.finditer(text)]
    return [block["command"] for block in blocks if output_of(block["command"]) != block["shown"]]


def main() -> None:
    """Check, or rewrite."""
    text = README.read_text()
    if "--check" in sys.argv[1:]:
        changed = stale(text)
        sys.exit(f"README.md shows old output of: {'; '.join(changed)}; run python docs/refresh.py" if changed else 0)
    for kind in (FENCED, MARKDOWN):
        text = kind.sub(lambda block: block[1] + output_of(block["command"]) + block[4], text)
    README.write_text(text)
    output_of("python compare.py docs/example")


if __name__ == "__main__":
    main()
