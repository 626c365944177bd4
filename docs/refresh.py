"""Keep the pages true: rerun the commands whose output they show, and write that output back.

python docs/refresh.py            rewrite the blocks of README.md and docs/*.md, docs/schema/, and docs/example's charts
python docs/refresh.py --check    change nothing; exit 1 and name the commands whose output has changed

A block is a comment `<!-- output of: COMMAND -->` and the fenced block after it, or, for output that is Markdown
itself, `<!-- text of: COMMAND -->`, that text, and `<!-- end of text -->`. ` | head -n 8` after a command keeps its
first lines. A schema is a whole file.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).parent.parent
PAGES = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
FILES = {
    PROJECT / f"docs/schema/{name}.json": f"python -m docs.reference schema {name}"
    for name in ("record", "launch", "summary")
}
FENCED = re.compile(r"(<!-- output of: (?P<command>[^\n]+?) -->\n```\w*\n)(?P<shown>.*?)(```\n)", re.S)
MARKDOWN = re.compile(r"(<!-- text of: (?P<command>[^\n]+?) -->\n)(?P<shown>.*?)(<!-- end of text -->\n)", re.S)


def output_of(command: str) -> str:
    """Run a command of a page in the project's folder. Returns what it prints; ends the program where that is nothing.

    The exit code is no sign of a failure: `diff` has 1 where files differ.
    """
    command, _, most = command.partition(" | head -n ")
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    here = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR"}}
    done = subprocess.run(words, cwd=PROJECT, env=here, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(f"{command} printed nothing: {done.stderr.strip()[-500:]}")
    return "".join(done.stdout.splitlines(keepends=True)[: int(most)]) if most else done.stdout


def outputs_of(commands: Iterable[str]) -> dict[str, str]:
    """Run every command once, two at a time. Returns what each prints."""
    once = list(dict.fromkeys(commands))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(once, pool.map(output_of, once), strict=True))


def commands_in(text: str) -> list[str]:
    """Return the commands of all blocks of a page."""
    return [block["command"] for kind in (FENCED, MARKDOWN) for block in kind.finditer(text)]


def refreshed(text: str, outputs: dict[str, str]) -> str:
    """Return a page with what its commands print now. Markdown stands between empty lines."""
    text = FENCED.sub(lambda block: block[1] + outputs[block["command"]] + block[4], text)
    return MARKDOWN.sub(lambda block: f"{block[1]}\n{outputs[block['command']].strip()}\n\n{block[4]}", text)


def stale(text: str, outputs: dict[str, str]) -> list[str]:
    """Return the commands whose output is not what the page shows."""
    blocks = [block for kind in (FENCED, MARKDOWN) for block in kind.finditer(text)]
    return [block["command"] for block in blocks if refreshed(block[0], outputs) != block[0]]


def main() -> None:
    """Check, or rewrite."""
    texts = {page: page.read_text() for page in PAGES}
    outputs = outputs_of([*(each for text in texts.values() for each in commands_in(text)), *FILES.values()])
    if "--check" in sys.argv[1:]:
        old = {page: stale(text, outputs) for page, text in texts.items()}
        old |= {
            path: [command]
            for path, command in FILES.items()
            if not path.exists() or path.read_text() != outputs[command]
        }
        lines = [
            f"{path.relative_to(PROJECT)} shows old output of: {'; '.join(old[path])}" for path in old if old[path]
        ]
        sys.exit("\n".join([*lines, "run python docs/refresh.py"]) if lines else 0)
    for page, text in texts.items():
        if (new := refreshed(text, outputs)) != text:
            page.write_text(new)
    for path, command in FILES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(outputs[command])
    output_of("python compare.py docs/example")
    output_of("python compare.py docs/example-sweep")


if __name__ == "__main__":
    main()
