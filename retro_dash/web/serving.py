"""Serving: the engine, the adapters it can serve, and who plays by default. Drawn by `static/pages/serving.js`."""

from __future__ import annotations

from retro_dash.web.page import Page

PAGE = Page(title="Serving", path="/serving", view="serving")
