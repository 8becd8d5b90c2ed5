"""`/api/v1/judge`: a language model as judge of stored episodes, in the background of the hub."""

from __future__ import annotations

from fastapi import APIRouter

from retro_dash.judging import JudgeRequest, JudgeState, Judging


def judge_router(judging: Judging) -> APIRouter:
    """Start it, see how far it is, stop it."""
    router = APIRouter(prefix="/judge", tags=["curation"])

    @router.get("")
    def state() -> JudgeState:
        return judging.state()

    @router.post("", status_code=202)
    def start(body: JudgeRequest) -> JudgeState:
        return judging.start(body)

    @router.post("/stop")
    def stop() -> JudgeState:
        judging.stop()
        return judging.state()

    return router
