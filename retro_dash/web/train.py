"""Train: background runs with their live curves, and the form that starts one. Drawn by `static/pages/train.js`."""

from __future__ import annotations

from retro_dash.web.page import Page

PAGE = Page(title="Train", path="/train", view="train")
