"""Curate: label episodes one by one, freeze datasets, import files. Drawn by `static/pages/curate.js`."""

from __future__ import annotations

from retro_dash.web.page import Page

PAGE = Page(title="Curate", path="/curate", view="curate")
