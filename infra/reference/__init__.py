"""The generated pages of `docs/reference/`: what the code says about itself, written down.

    python -m infra.reference

A test makes them again and compares, so none of them can drift. What the code cannot say (what a state or a setting
means) stands in `words.py`, keyed by the member it explains: one that is missing there is an error, not a gap.
"""

from pathlib import Path
from typing import Final

from infra.build import ROOT
from infra.reference import api, checks, cli, errors, settings, states

FOLDER: Final = ROOT / "docs" / "reference"

PAGES: Final = {
    "api.md": api.page,
    "checks.md": checks.page,
    "cli.md": cli.page,
    "errors.md": errors.page,
    "settings.md": settings.page,
    "states.md": states.page,
}


def pages() -> dict[str, str]:
    """Return every page by its file name, as it should be now."""
    return {name: make() for name, make in PAGES.items()}


def write(folder: Path = FOLDER) -> list[str]:
    """Write the pages that differ; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(name)
    return changed
