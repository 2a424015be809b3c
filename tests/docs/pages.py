"""The project's own pages, and what can be found in them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "cli/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"`[^`\n]*`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
ANCHOR = re.compile(r'<a id="([^"]+)">')
SHELL = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """A page as a test is named after it."""
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[str]:
    """The targets of a page's links within the project."""
    found = LINK.findall(INLINE.sub("", FENCE.sub("", page.read_text())))
    return [target for target in found if not target.startswith(("http://", "https://", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as they are turned into ids, and its own anchors."""
    text = FENCE.sub("", page.read_text())
    return {slug(heading) for heading in HEADING.findall(text)} | set(ANCHOR.findall(text))


def slug(heading: str) -> str:
    """The id of a heading: lower case, without punctuation, spaces to hyphens."""
    plain = re.sub(r"<[^>]+>", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def commands(page: Path) -> Iterator[str]:
    """The command lines of a page's shell blocks, without the prompt; in a `console` block the rest is output."""
    for block in SHELL.finditer(page.read_text()):
        is_session = block[0].startswith("```console")
        for line in block[1].splitlines():
            if is_session and not line.startswith("$ "):
                continue
            text = line.removeprefix("$ ").partition("  #")[0].strip()
            if text and not text.startswith("#"):
                yield text
