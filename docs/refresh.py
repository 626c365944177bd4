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
MARKDOWN = re.compile(r"(<!-- text of: (?P<command>[^\n]+?) -->\n)(?P<shown>.*?)(<!-- end of text -->\n)", re.S)


def output_of(command: str) -> str:
    """Run a command of the README in the project's folder. Returns what it prints."""
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False).stdout


def blocks_of(text: str) -> list[tuple[re.Match[str], str]]:
    """Return every block with what it should show: Markdown stands between empty lines."""
    fenced = [(block, output_of(block["command"])) for block in FENCED.finditer(text)]
    return fenced + [(block, f"\n{output_of(block['command'])}\n") for block in MARKDOWN.finditer(text)]


def stale(text: str) -> list[str]:
    """Return the commands whose output is not what the text shows."""
    return [block["command"] for block, output in blocks_of(text) if block["shown"] != output]


def main() -> None:
    """Check, or rewrite."""
    text = README.read_text()
    if "--check" in sys.argv[1:]:
        changed = stale(text)
        sys.exit(f"README.md shows old output of: {'; '.join(changed)}; run python docs/refresh.py" if changed else 0)
    for block, output in blocks_of(text):
        text = text.replace(block[0], block[1] + output + block[4])
    README.write_text(text)
    output_of("python compare.py docs/example")


if __name__ == "__main__":
    main()
