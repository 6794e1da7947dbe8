"""Checks a built site: every internal link and anchor leads somewhere, and nothing is loaded from elsewhere.

python docs/generate/check_site.py build/site
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Elements that fetch something by themselves, and the attribute that says what."""

PASSIVE = ("canonical", "prev", "next", "alternate")
"""Relations of a `link` that fetch nothing."""

IN_STYLES = re.compile(r"(?:url\(|@import\s+)\s*[\"']?((?:https?:)?//[^\"')\s]+)")


@dataclass
class Found:
    """What is on one page: places that can be linked to, links, and what it loads."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Found()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.found.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and "href" in values:
            self.found.links.append(values["href"])
        elif tag in LOADING and values.get(LOADING[tag]) and values.get("rel") not in PASSIVE:
            self.found.loads.append(values[LOADING[tag]])
        self.found.loads += IN_STYLES.findall(values.get("style", ""))


def read(page: Path) -> Found:
    """What is on a page."""
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader.found


def problems(site: Path) -> list[str]:
    """Links that lead nowhere, and what would be loaded from elsewhere, in words."""
    pages = {page.resolve(): read(page) for page in site.rglob("*.html")}
    wrong = []
    for page, found in pages.items():
        name = page.relative_to(site.resolve())
        inside = [link for link in [*found.links, *found.loads] if not _external(link)]
        reasons = {link: _broken(link, page, pages) for link in inside}
        wrong += [f"{name}: {link}: {reason}" for link, reason in reasons.items() if reason]
        wrong += [f"{name} loads {url}" for url in found.loads if _external(url)]
    for style in site.rglob("*.css"):
        urls = IN_STYLES.findall(style.read_text(encoding="utf-8"))
        wrong += [f"{style.relative_to(site)} loads {url}" for url in urls]
    return sorted(wrong)


def external(site: Path) -> list[str]:
    """Addresses elsewhere that readers can follow."""
    found = {link for page in site.rglob("*.html") for link in read(page).links if _external(link)}
    return sorted(found)


def _external(link: str) -> bool:
    return link.startswith(("http:", "https:", "//"))


def _broken(link: str, page: Path, pages: dict[Path, Found]) -> str | None:
    """Why an internal link leads nowhere, None where it does not."""
    parts = urlsplit(link)
    if parts.scheme in ("mailto", "data", "javascript"):
        return None
    place = parts.path
    if page.name == "404.html":  # shown in place of any page, so it counts from the top
        place = place.removeprefix("/")
    target = (page.parent / unquote(place)).resolve() if place else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "there is no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors and anchor != "__codelineno":
        return "there is no such anchor"
    return None


def main(arguments: list[str]) -> int:
    """Print what is wrong, and the addresses elsewhere; the exit status says whether anything is."""
    site = Path(arguments[0])
    wrong = problems(site)
    addresses = external(site)
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"{len(list(site.rglob('*.html')))} pages, {len(wrong)} problems.\n")
    sys.stdout.write("Links to elsewhere, which are not checked:\n")
    sys.stdout.writelines(f"  {address}\n" for address in addresses)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
