"""Results: evaluations, flips, published numbers, the same tasks again. Drawn by `static/pages/results.js`."""

from __future__ import annotations

from retro_dash.web.page import Page

PAGE = Page(title="Results", path="/results", view="results")
