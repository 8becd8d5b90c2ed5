"""The web pages: thin Gradio frames around views of our own, which live in `static` and speak to `/api/v1` only.

Text of models and environments reaches a page through `textContent` alone (`static/dom.js`).
"""

from __future__ import annotations

import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from retro_dash.web import curate, episodes, play, results, serving, train
from retro_dash.web.frame import STATIC_PATH, PageFrame
from retro_dash.web.page import Page

PAGES: tuple[Page, ...] = (play.PAGE, episodes.PAGE, curate.PAGE, train.PAGE, serving.PAGE, results.PAGE)
"""In the order of the top bar. The first is the start page."""

STATIC = Path(__file__).parent / "static"


def build() -> gr.Blocks:
    """The Gradio app: one route a page, each holding the place where its view is drawn."""
    first, *others = PAGES
    demo: gr.Blocks = gr.Blocks(title="Retro Dash", analytics_enabled=False, fill_width=True)
    with demo:
        _place(first)
    for page in others:
        with demo.route(page.title, page.path, show_in_navbar=False):
            _place(page)
    return demo


def _place(page: Page) -> None:
    # The template is a constant: data never goes through Gradio's HTML.
    gr.HTML(html_template=f'<div data-view="{page.view}"></div>', js_on_load="", apply_default_css=False)


def mount(app: FastAPI, service: object = None) -> FastAPI:
    """Serve the pages and their static files on `app`, whose own routes (`/api/v1`) must be there already.

    HTML responses leave with the Content-Security-Policy of `frame.content_security_policy`; a middleware that sets
    one for other responses must not overwrite it.
    """
    app.add_route(f"{STATIC_PATH}/vendor/plotly.min.js", _plotly)
    app.mount(STATIC_PATH, _Static(directory=STATIC), name="ui")
    app.add_middleware(PageFrame, pages=PAGES)
    with warnings.catch_warnings():
        # Gradio warns that pages are not rendered on the server, which we did not ask for.
        warnings.filterwarnings("ignore", message="SSR mode is not supported")
        _mount_gradio(app)
    return app


def _mount_gradio(app: FastAPI) -> None:
    gr.mount_gradio_app(
        app,
        build(),
        path="/",
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        favicon_path=str(STATIC / "favicon.svg"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        show_error=False,
    )


def _plotly(request: Request) -> Response:
    """The chart library out of the installed package, so that nothing comes from elsewhere."""
    script = files("plotly") / "package_data" / "plotly.min.js"
    with as_file(script) as path:
        return FileResponse(path, media_type="text/javascript", headers={"cache-control": "max-age=86400"})


class _Static(StaticFiles):
    """Asks the browser to check for a newer file each time: an upgrade must not show an old page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response
