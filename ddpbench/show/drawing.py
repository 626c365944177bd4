"""Charts as SVG inside the page. They take the page's colours, and cannot run a script or fetch anything."""

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

from ddpbench.errors import one_line

if TYPE_CHECKING:  # the module imports matplotlib
    from ddpbench.show.charts.style import Chart

ELEMENTS = frozenset(("svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle", "pattern"))
COLOURS = {"#222222": "currentColor", "#000000": "currentColor", "#555555": "var(--secondary)"}


def embed(chart: "Chart") -> Markup:
    """Return the SVG of a chart for use within a page, as wide as the page.

    Its ids begin with the chart's slug, because an id may occur only once in a page. Raises ValueError if the SVG
    could run a script or fetch something.
    """
    text = chart.svg
    root = ElementTree.fromstring(text[text.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag not in ELEMENTS:
            raise ValueError(f"chart {chart.slug}: element {element.tag} is not allowed in an SVG of ours")
        changed = {_local(name): _adapted(value, _local(name), chart.slug) for name, value in element.items()}
        element.attrib.clear()
        element.attrib.update(changed)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    label = " ".join(one_line(line) for line in chart.alt.split("\n") if line)
    root.attrib.update({"role": "img", "aria-label": label})
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # checked above, and escaped by ElementTree


def _adapted(value: str, name: str, slug: str) -> str:
    """Return the value of an attribute with unique ids and the page's colours. Raises ValueError like `embed`."""
    if name.startswith("on"):
        raise ValueError(f"chart {slug}: attribute {name} is not allowed in an SVG of ours")
    if name == "id":
        return f"{slug}-{value}"
    if name == "href":
        if value.startswith("#"):
            return f"#{slug}-{value[1:]}"
        if not value.startswith("data:image/png;base64,"):
            raise _outside(value, slug)
        return value
    if re.search(r"url\s*\((?!#)|@import|\\", value, re.IGNORECASE):
        raise _outside(value, slug)
    for colour, ours in COLOURS.items():
        value = value.replace(colour, ours)
    return value.replace("url(#", f"url(#{slug}-")


def _outside(value: str, slug: str) -> ValueError:
    return ValueError(f"chart {slug}: an SVG of ours refers to nothing outside it, found {value[:80]!r}")


def _local(name: str) -> str:
    """Return a name without its namespace, which HTML does not need."""
    return name.rpartition("}")[2]
