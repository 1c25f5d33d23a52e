"""Read a built page: the cells of its tables, its words and its tags."""

from html.parser import HTMLParser


class TableReader(HTMLParser):
    """Rows of cell texts of the table with a given data-name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.inside, self.in_cell = name, False, False
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.inside = dict(attributes).get("data-name") == self.name
        elif self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        if tag == "table":
            self.inside = False
        elif tag in ("td", "th"):
            self.in_cell = False

    def handle_data(self, data):
        if self.inside and self.in_cell:
            self.rows[-1][-1] += data


class TextReader(HTMLParser):
    """The words of a page, and the tags it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def read_table(page, name):
    reader = TableReader(name)
    reader.feed(page.read_text(encoding="utf-8"))
    return reader.rows[0], reader.rows[1:]


def read_text(page):
    reader = TextReader()
    reader.feed(page.read_text(encoding="utf-8"))
    return " ".join(" ".join(reader.words).split())


def read_tags(page):
    reader = TextReader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader.tags
