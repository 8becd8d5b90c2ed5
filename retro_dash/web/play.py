"""Play: step an agent live, watch it fail, reflect and try again. Drawn by `static/pages/play.js`."""

from __future__ import annotations

from retro_dash.web.page import Page

PAGE = Page(title="Play", path="/", view="play")
