"""The one tree of errors. A message says what happened, with which value, and what to do next.

RetroDashError
├── BadInput              the caller asked for something that does not exist or does not parse   exit 2, HTTP 422
│   ├── UnknownName       a name that is not in a registry or the store; lists the known ones    exit 2, HTTP 404
│   ├── BadFile           a file is not what it should be                                        exit 2, HTTP 422
│   └── BadConfig         a setting or config key is wrong                                       exit 2, HTTP 422
├── Refused               understood, and not allowed here or now                                exit 3, HTTP 409
├── Unavailable           something this machine lacks (sandbox, GPU, extra)                     exit 4, HTTP 503
├── EngineError           the model server failed, answered nonsense or is gone                  exit 5, HTTP 502
├── EnvironmentCrashed    an environment broke in the middle of a trial                          exit 6, HTTP 500
├── StorageError          the store cannot be opened, is full, or is newer than this program     exit 7, HTTP 507
└── TrainingError         a run cannot go on (NaN, no data, ratio off)                           exit 8, HTTP 500
"""

from __future__ import annotations

from collections.abc import Iterable


class RetroDashError(Exception):
    """Root of every error that we raise on purpose. Its text is shown to people as it is."""

    exit_code = 1
    http_status = 500


class BadInput(RetroDashError):
    exit_code = 2
    http_status = 422


class UnknownName(BadInput):
    http_status = 404

    def __init__(self, what: str, name: str, known: Iterable[str] = ()) -> None:
        names = sorted(known)
        if names:
            shown = ", ".join(names[:12])
            hint = f" Known: {shown}{', …' if len(names) > 12 else ''}."
        else:
            hint = ""
        super().__init__(f"There is no {what} called {name!r}.{hint}")


class BadFile(BadInput):
    pass


class BadConfig(BadInput):
    pass


class Refused(RetroDashError):
    exit_code = 3
    http_status = 409


class Unavailable(RetroDashError):
    exit_code = 4
    http_status = 503


class EngineError(RetroDashError):
    exit_code = 5
    http_status = 502


class EnvironmentCrashed(RetroDashError):
    exit_code = 6


class StorageError(RetroDashError):
    exit_code = 7
    http_status = 507


class TrainingError(RetroDashError):
    exit_code = 8
