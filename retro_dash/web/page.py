"""What one page is. Adding a page: a module with a PAGE, its line in `PAGES`, and `static/pages/<view>.js`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    title: str
    """As the top bar shows it."""
    path: str
    """Exact address; everything else is in the query string."""
    view: str
    """Name of the script in `static/pages` that draws the page."""
