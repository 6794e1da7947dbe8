"""Figures inside the page instead of beside it, so that they take its colours and its font."""

import html as escapes
import re
from pathlib import Path

from palette import declarations

IMAGE = re.compile(r'<img alt="([^"]*)" src="([^"]*?)((?:figures/)?[\w-]+\.svg)"[^>]*>')


def inlined(html: str, docs: Path) -> str:
    """A page's HTML with the SVG of every image that lies in the folder of the documentation."""

    def svg(found: re.Match[str]) -> str:
        file = docs / found[3]
        if not file.is_file():
            return found[0]
        text = file.read_text(encoding="utf-8")
        drawing = re.sub(r"\s+", " ", text[text.index("<svg") :])
        if 'role="img"' not in drawing.split(">")[0]:
            label = escapes.escape(escapes.unescape(found[1]))
            drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        return f'<span class="figure">{drawing}</span>'

    return IMAGE.sub(svg, html)


def stylesheet() -> str:
    """The colours of figures on light and on dark pages."""
    return f":root {{ {declarations(False)} }}\n[data-md-color-scheme=slate] {{ {declarations(True)} }}\n"
