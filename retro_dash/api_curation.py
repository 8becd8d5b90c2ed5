"""`/api/v1/labels`, `/tagset`, `/queue`: what annotators do, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from data.types import Label
from retro_dash.agreement import (
    Agreement,
    JudgeAgreement,
    VoteComparison,
    agreement,
    judge_agreement,
)
from retro_dash.api_datasets import datasets_router
from retro_dash.curation import Curation
from retro_dash.identity import actor
from retro_dash.labelling import StoredLabel
from retro_dash.labels import Change, LabelConflict, LabelRequest
from retro_dash.paging import say_next
from retro_dash.pairs import BlindPair
from retro_dash.problems import problem
from retro_dash.queues import QueuePage
from retro_dash.tagset import TagSet

MOST_LABELS = 5000
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=100)]
Name = Annotated[str, Query(min_length=1, max_length=100)]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelsBody(Body):
    labels: list[LabelRequest] = Field(min_length=1, max_length=500)


class StepBody(Body):
    annotator: str
    id: str = Field(min_length=1, max_length=100)
    """Id of the label that this makes, from the client: sending it again changes nothing."""


class ReleaseBody(Body):
    annotator: str
    episode_ids: list[str] = Field(max_length=500)


def curation_router(curation: Curation) -> APIRouter:
    """All routes of labels and queues."""
    router = APIRouter(tags=["curation"])
    router.include_router(datasets_router(curation))
    for add in (_add_label_lists, _add_labelling, _add_agreement, _add_tagset, _add_queue):
        add(router, curation)
    return router


def _add_label_lists(router: APIRouter, curation: Curation) -> None:
    @router.get("/labels")
    def labels(
        request: Request,
        response: Response,
        episode: str | None = None,
        annotator: str | None = None,
        name: str | None = None,
        history: bool = False,
        cursor: Cursor = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LABELS)] = MOST_LABELS,
    ) -> list[Label]:
        """Oldest first; the `Link` header says where they go on."""
        found = curation.labels(episode, annotator, name, not history, cursor, limit + 1)
        if len(found) > limit:
            say_next(request, response, found[limit - 1].id)
        return list(found[:limit])

    @router.get("/labels/audit")
    def audit(
        request: Request,
        response: Response,
        episode: str | None = None,
        annotator: str | None = None,
        cursor: Cursor = None,
        limit: Limit = 200,
    ) -> list[Change]:
        """Newest first; the `Link` header says where they go on."""
        found = curation.audit(episode, annotator, limit + 1, cursor)
        if len(found) > limit:
            say_next(request, response, found[limit - 1].label.id)
        return found[:limit]


def _add_labelling(router: APIRouter, curation: Curation) -> None:
    @router.post("/labels", response_model=list[StoredLabel])
    def label(body: LabelsBody, request: Request) -> list[StoredLabel] | JSONResponse:
        labels = [one.model_copy(update={"annotator": actor(request, one.annotator)}) for one in body.labels]
        try:
            return curation.label(labels)
        except LabelConflict as conflict:
            return _conflict(conflict)

    @router.post("/labels/undo")
    def undo(body: StepBody, request: Request) -> StoredLabel:
        return curation.labelling.undo(actor(request, body.annotator), body.id)

    @router.post("/labels/redo")
    def redo(body: StepBody, request: Request) -> StoredLabel:
        return curation.labelling.redo(actor(request, body.annotator), body.id)


def _add_agreement(router: APIRouter, curation: Curation) -> None:
    @router.get("/agreement")
    def agreement_on(name: str = "verdict") -> Agreement:
        return agreement(curation.labels(), name)

    @router.get("/agreement/judges")
    def judges() -> list[JudgeAgreement]:
        """Language models as judges against people."""
        return list(judge_agreement(curation.labels()))

    @router.get("/agreement/votes")
    def votes() -> VoteComparison:
        """Blind A/B votes on reflections, compared with the gains that came of them."""
        return curation.votes()

    @router.get("/agreement/pair")
    def pair(annotator: Name, request: Request, filter: str = "") -> BlindPair | None:  # noqa: A002
        """Two reflections on failures of one task for a blind vote; null when the filter has none left."""
        return curation.blind_pair(actor(request, annotator), filter)


def _add_tagset(router: APIRouter, curation: Curation) -> None:
    @router.get("/tagset")
    def tagset() -> TagSet:
        return curation.tagsets.current()

    @router.get("/tagset/versions")
    def tagset_versions() -> list[TagSet]:
        """Every version, newest first."""
        return curation.tagsets.versions()

    @router.put("/tagset")
    def replace_tagset(body: TagSet) -> TagSet:
        return curation.tagsets.replace(body)


def _add_queue(router: APIRouter, curation: Curation) -> None:
    @router.get("/queue")
    def queue(
        request: Request,
        annotator: Name,
        filter: str = "",  # noqa: A002 - the word of the filter language in every address
        order: str = "shuffle",
        limit: Annotated[int, Query(ge=1, le=100)] = 1,
        overlap: Annotated[int, Query(ge=1, le=20)] = 1,
        overlap_share: Annotated[float, Query(ge=0, le=1)] = 1.0,
        skip: Annotated[list[str] | None, Query(max_length=200)] = None,
    ) -> QueuePage:
        """`skip` names episodes that the annotator passed over in this sitting."""
        who = actor(request, annotator)
        return curation.queues.next(who, filter, order, limit, overlap, overlap_share, set(skip or ()))

    @router.post("/queue/release", status_code=204)
    def release(body: ReleaseBody, request: Request) -> None:
        curation.queues.release(actor(request, body.annotator), body.episode_ids)


def _conflict(conflict: LabelConflict) -> JSONResponse:
    """The problem document of a lost race, with the label that stands."""
    current = conflict.current.model_dump(mode="json") if conflict.current is not None else None
    return problem(409, str(conflict), current=current)
