"""Ten annotators label until somebody ends this process; every acknowledged label is a line on stdout."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from data.store import Store
from data.types import LabelTarget
from retro_dash.curation import Curation
from retro_dash.labels import LabelRequest


def main(home: Path, first: int) -> None:
    store = Store.open(home)
    curation = Curation(home, store)
    lock = threading.Lock()

    def label(annotator: int) -> None:
        number = first
        while True:
            requests = [
                LabelRequest(
                    id=f"{annotator}-{number + k}",
                    target=LabelTarget(episode_id=f"e{(number + k) % 5}", part="episode"),
                    name="verdict",
                    value=("good", "bad", "expert")[(number + k) % 3],
                    annotator=f"annotator-{annotator}",
                )
                for k in range(1 + number % 2)
            ]
            curation.label(requests)
            with lock:
                sys.stdout.write("".join(f"{request.id}\n" for request in requests))
                sys.stdout.flush()
            number += len(requests)

    for annotator in range(10):
        threading.Thread(target=label, args=(annotator,), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
