"""The web entry: `python app.py` is `retro-dash web`."""

import sys

from retro_dash.cli import main

if __name__ == "__main__":
    sys.exit(main(["web", *sys.argv[1:]]))
