"""Episodes: find stored episodes and read their trials side by side. Drawn by `static/pages/episodes.js`."""

from __future__ import annotations

from retro_dash.web.page import Page

PAGE = Page(title="Episodes", path="/episodes", view="episodes")
