"""`/api/v1/datasets`, `/imports`, `/exports`: what goes in, what is frozen, what goes out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from data.formats import FORMATS, file_format
from data.lint import LintReport
from data.types import DatasetVersion, Episode
from retro_dash.curation import Curation
from retro_dash.datasets import DatasetDetails, DatasetDiff, DatasetRequest
from retro_dash.evaluators import EVALUATORS
from retro_dash.exporting import EXPORTS, export, file_name
from retro_dash.folders import MOST_FILES
from retro_dash.responses import Download
from retro_dash.uploads import ImportState

RAW = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
Names = Annotated[Sequence[str], Query(min_length=1, max_length=MOST_FILES)]
Sizes = Annotated[Sequence[Annotated[int, Field(ge=0)]], Query(max_length=MOST_FILES)]


class KnownBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: list[str] = Field(max_length=10_000)


def datasets_router(curation: Curation) -> APIRouter:
    """All routes of datasets, imports and exports."""
    router = APIRouter(tags=["datasets"])
    for add in (_add_datasets, _add_exports, _add_imports):
        add(router, curation)
    return router


def _add_datasets(router: APIRouter, curation: Curation) -> None:
    datasets = curation.datasets

    @router.get("/datasets")
    def versions() -> list[DatasetVersion]:
        return list(curation.store.datasets())

    @router.post("/datasets", status_code=201)
    def freeze(body: DatasetRequest) -> DatasetVersion:
        return datasets.freeze(body)

    @router.post("/datasets/check")
    def check(body: DatasetRequest) -> LintReport:
        return datasets.check(body)

    @router.get("/datasets/evaluators")
    def evaluators() -> list[str]:
        return list(EVALUATORS)

    @router.get("/datasets/{hash_}")
    def details(hash_: str) -> DatasetDetails:
        return datasets.details(hash_)

    @router.get("/datasets/{old}/diff/{new}")
    def diff(old: str, new: str) -> DatasetDiff:
        return datasets.diff(old, new)

    @router.get("/datasets/{hash_}/training")
    def training(hash_: str) -> list[Episode]:
        """What a run on this dataset trains on, rewrites and verdicts applied."""
        return datasets.training_episodes(hash_)


def _add_exports(router: APIRouter, curation: Curation) -> None:
    @router.get("/formats")
    def formats() -> dict[str, dict[str, str]]:
        """What can be read and what can be written."""
        return {
            "import": {name: file_format(name).title for name in FORMATS},
            "export": {name: found.title for name, found in EXPORTS.items()},
        }

    @router.get("/exports/{format_}", response_class=Download)
    def export_file(
        format_: str,
        filter: str = "",  # noqa: A002 - the word of the filter language in every address
        dataset: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Download:
        entries, about = curation.chosen(filter, dataset)
        folder = Path(tempfile.mkdtemp(prefix="retro-export-"))
        try:
            name = file_name(format_, dataset or filter or "episodes")
            made = export(format_, entries, folder / name, about).path
            if made.is_dir():
                made = Path(shutil.make_archive(str(made), "zip", made))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Download(
            made,
            filename=made.name,
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )


def _add_imports(router: APIRouter, curation: Curation) -> None:
    uploads = curation.uploads

    @router.post("/imports", status_code=201, openapi_extra={"requestBody": {"content": RAW, "required": True}})
    async def upload(
        request: Request,
        name: Names = ("upload",),
        size: Sizes = (),
        format: str | None = None,  # noqa: A002
    ) -> ImportState:
        """The body is one file (a zip of several, too), or several one behind the other: then each has a `name`,
        which may hold its folders, and a `size` in bytes."""
        if size:
            path = await uploads.receive_several(name, size, request.stream())
        else:
            path = await uploads.receive(name[0], request.stream())
        shown = name[0] if len(name) == 1 else f"{len(name)} files"
        return await run_in_threadpool(uploads.look, path, shown, format)

    @router.get("/imports/{id_}")
    def upload_state(id_: str) -> ImportState:
        return uploads.state(id_)

    @router.post("/imports/{id_}/start", status_code=202)
    def start(id_: str) -> ImportState:
        return uploads.start(id_)

    @router.delete("/imports/{id_}", status_code=204)
    def forget(id_: str) -> None:
        uploads.forget(id_)

    @router.post("/episodes/known")
    def known(body: KnownBody) -> list[str]:
        """Which of these ids the store has."""
        return sorted(curation.store.known_episodes(body.ids))
