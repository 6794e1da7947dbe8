"""What a page of HTML holds, read strictly."""

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "hr"}
"""Elements without content."""


class WebPage(HTMLParser):
    """Checks that elements are closed in order and figures have a text for those who do not see them.

    tables: rows of cells by caption. figures: those texts. sections: headings of the second level.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.sections: list[str] = []
        self.figures: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [str(values["id"])] if values.get("id") else []
        self.references += [str(values[key]) for key in ("src", "href", "xlink:href") if key in values]
        if tag == "img":
            assert values.get("alt")
        elif tag == "svg":
            assert values.get("role") == "img"
            self.figures.append(str(values["aria-label"]))
        elif tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open[-1:] == ["h2"]:
            self.sections.append(data)
        elif self.open[-1:] == ["caption"]:
            self.tables[data] = self._rows
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        """All texts, with single spaces."""
        return " ".join(" ".join(self.texts).split())
