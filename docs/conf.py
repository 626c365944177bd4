"""The site: the same Markdown files that a code host shows, with a menu, a search and checked links.

python -m pip install ".[docs]"
python -m sphinx -W -c docs . docs/_build/site    then open docs/_build/site/index.html

The source folder is the whole project, so a link from a page to a file of the project means the same here and on a code
host. The menu is made of the links in docs/index.md, section by section. A link that leads nowhere is a warning, and so
is a page that the index does not name: -W makes errors of them. The search needs no server.
"""

import re

from sphinx.application import Sphinx

project = html_title = "ddpbench"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/*.md", "benchmarks/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
exclude_patterns = [".*", "data", "ddpbench", "tests", "results", "docs/_build", "docs/example*"]
highlight_language = "text"
myst_heading_anchors = 4
smartquotes = False  # they make one dash of the two before a flag
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["redirect"]  # the first page lies in docs/, as its source does
html_copy_source = False
html_show_copyright = False


def adapt(_app: Sphinx, name: str, source: list[str]) -> None:
    """Show folders, which have no page, by their names alone. Add the menu to the first page, section by section."""
    source[0] = re.sub(r"\[([^\]]+)\]\([\w./-]+/\)", r"\1", source[0])
    if name == root_doc:
        for section in source[0].split("\n## ")[1:]:
            pages = dict.fromkeys(re.findall(r"\]\(([\w./-]+)\.md\)", section))
            caption = section.partition("\n")[0]
            source[0] += "\n\n```{toctree}\n:hidden:\n:caption: " + "\n".join([caption, "", *pages]) + "\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect what adapts the pages."""
    app.connect("source-read", adapt)
    return {"parallel_read_safe": True}
