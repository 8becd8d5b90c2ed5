"""`/api/v1/datasets`, `/imports`, `/exports`: what goes in, what is frozen, what goes out."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
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
from retro_dash.uploads import ImportState


class KnownBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: list[str] = Field(max_length=10_000)


def datasets_router(curation: Curation) -> APIRouter:
    """All routes of datasets, imports and exports."""
    router = APIRouter(tags=["datasets"])
    datasets, uploads = curation.datasets, curation.uploads

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

    @router.get("/formats")
    def formats() -> dict[str, dict[str, str]]:
        """What can be read and what can be written."""
        return {
            "import": {name: file_format(name).title for name in FORMATS},
            "export": {name: found.title for name, found in EXPORTS.items()},
        }

    @router.get("/exports/{format_}")
    def export_file(
        format_: str,
        filter: str = "",  # noqa: A002 - the word of the filter language in every address
        dataset: Annotated[str | None, Query(max_length=100)] = None,
    ) -> FileResponse:
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
        return FileResponse(
            made,
            filename=made.name,
            media_type="application/octet-stream",
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )

    @router.post("/imports", status_code=201)
    async def upload(request: Request, name: str = "upload", format: str | None = None) -> ImportState:  # noqa: A002
        path = await uploads.receive(name, request.stream())
        return await run_in_threadpool(uploads.look, path, name, format)

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

    return router
