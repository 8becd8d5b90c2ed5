"""When the hub opens a browser."""

from __future__ import annotations

import pytest

from retro_dash.hub import has_screen


@pytest.mark.parametrize(
    ("platform", "environ", "is_seen"),
    [
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {}, False),
        ("linux", {"DISPLAY": ""}, False),
        ("linux", {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.1 22"}, False),
        ("linux", {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.1 22", "DISPLAY": "localhost:10.0"}, True),
        ("darwin", {}, True),
        ("darwin", {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.1 22"}, False),
    ],
)
def test_a_browser_is_opened_where_somebody_sees_it(platform: str, environ: dict[str, str], is_seen: bool):
    assert has_screen(platform, environ) is is_seen
