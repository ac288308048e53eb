"""What is done to the HTML of an email: links that tell of clicks, an image that tells of openings, and its text."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser

_ANCHOR = re.compile(r"""<a\b(?:[^>"']|"[^"]*"|'[^']*')*>""", re.IGNORECASE)
_ANCHOR_BEGINS = re.compile(r"<a\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>?")
# Tags that begin and never end. Each is sought to the end of the text, so that many would take for ever.
UNFINISHED_AT_MOST = 10
_HREF = re.compile(
    r"""(?P<before>\shref\s*=\s*)(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s>"']+))""", re.IGNORECASE
)
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_BREAKS = re.compile(r"\n{3,}")

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# With an empty line around them.
_PARAGRAPHS = frozenset(("blockquote", "dl", "figure", "ol", "p", "pre", "table", "ul", *_HEADINGS))
_BLOCKS = _PARAGRAPHS | {
    *("address", "article", "aside", "center", "dd", "div", "dt", "figure", "footer", "form", "header", "hr", "li"),
    *("main", "nav", "section", "tr"),
}
_UNSEEN = frozenset(("head", "script", "style", "title", "template", "noscript"))


def with_links(html: str, tracked: Callable[[str], str], *, leave: Callable[[str], bool]) -> str:
    """Return HTML whose links to web addresses lead to what `tracked` says of them, but for those left alone.

    Anchors, mailto and other schemes stay as they are. All else of the text is untouched, comments for one
    mail program included.
    """

    def link(found: re.Match[str]) -> str:
        url = unescape(next(part for part in found.group("double", "single", "bare") if part is not None)).strip()
        if not url.lower().startswith(("http://", "https://")) or leave(url):
            return found.group(0)
        return f'{found["before"]}"{escape(tracked(url))}"'

    parts, at, unfinished = [], 0, 0
    while unfinished < UNFINISHED_AT_MOST and (begin := _ANCHOR_BEGINS.search(html, at)) is not None:
        tag = _ANCHOR.match(html, begin.start())
        if tag is None:
            unfinished += 1
            parts.append(html[at : begin.end()])
            at = begin.end()
            continue
        parts += [html[at : begin.start()], _HREF.sub(link, tag.group(0), count=1)]
        at = tag.end()
    return "".join(parts) + html[at:]


def with_image(html: str, url: str) -> str:
    """Return HTML with an invisible image at its end."""
    image = f'<img src="{escape(url)}" width="1" height="1" alt="" style="display:block;border:0">'
    ends = list(_BODY_END.finditer(html))
    at = ends[-1].start() if ends else len(html)
    return html[:at] + image + html[at:]


def text_of(html: str) -> str:
    """Return HTML as plain text: paragraphs, lists, and where links lead."""
    reader = _Reader()
    try:
        reader.feed(html)
        reader.close()
        text = "".join(reader.parts)
    except _UnfinishedError:
        # Hardly HTML; what looks like tags goes.
        text = unescape(_TAG.sub(" ", html))
    lines = (line.rstrip() for line in text.split("\n"))
    return _BREAKS.sub("\n\n", "\n".join(lines)).strip() + "\n"


class _UnfinishedError(Exception):
    """Too many tags begin and never end."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0
        self._unfinished = 0
        # The open links: where each leads, and what was written before it.
        self._links: list[tuple[str, int]] = []
        # Of each open list, the number of its last item; None: not numbered.
        self._lists: list[int | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen += 1
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self.parts)))
        elif tag == "img":
            self._write(dict(attrs).get("alt") or "")
        elif tag in ("td", "th"):
            self._write(" ")
        elif tag in _BLOCKS:
            self._break(tag)
            if tag in ("ul", "ol"):
                self._lists.append(0 if tag == "ol" else None)
            elif tag == "li":
                self._begin_item()
            elif tag == "hr":
                self.parts.append("----\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag == "a" and self._links:
            url, start = self._links.pop()
            said = "".join(self.parts[start:]).strip()
            if url.startswith(("http://", "https://")) and url != said:
                self._write(f" ({url})")
        elif tag in _BLOCKS:
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._write(_SPACES.sub(" ", data))

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Read `<![foo[x]]>` as browsers do, as a comment that ends at the next `>`; the library raises for some."""
        return self.parse_bogus_comment(i)

    def parse_starttag(self, i: int) -> int:
        return self._ends(super().parse_starttag(i))

    def parse_endtag(self, i: int) -> int:
        return self._ends(super().parse_endtag(i))

    def parse_html_declaration(self, i: int) -> int:
        return self._ends(super().parse_html_declaration(i))

    def parse_comment(self, i: int, report: bool = True) -> int:
        return self._ends(super().parse_comment(i, report))

    def parse_pi(self, i: int) -> int:
        return self._ends(super().parse_pi(i))

    def _ends(self, at: int) -> int:
        """Return where something ends, as the library says it: below 0 where it never does."""
        self._unfinished += at < 0
        if self._unfinished > UNFINISHED_AT_MOST:
            raise _UnfinishedError
        return at

    def _begin_item(self) -> None:
        number = self._lists[-1] if self._lists else None
        if self._lists and number is not None:
            self._lists[-1] = number + 1
            self.parts.append(f"{number + 1}. ")
        else:
            self.parts.append("- ")

    def _write(self, data: str) -> None:
        if data.startswith(" ") and (not self.parts or self.parts[-1].endswith((" ", "\n"))):
            data = data[1:]
        if data:
            self.parts.append(data)

    def _break(self, tag: str) -> None:
        wanted = 2 if tag in _PARAGRAPHS and not self._lists else 1
        tail = "".join(self.parts[-3:])
        there = len(tail) - len(tail.rstrip("\n"))
        if self.parts and there < wanted:
            self.parts.append("\n" * (wanted - there))
