"""The embedded engine: an OpenAI-compatible server in a process of its own.

    python -m retro_dash.serving.embedded --model-dir DIR --port PORT [--host 127.0.0.1]

Only this process imports torch. When `RETRO_ENGINE_KEY` is set, every request but `/health` needs it as bearer token.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from transformers.utils.logging import disable_progress_bar

from data.errors import BadConfig, BadInput, RetroDashError
from retro_dash.serving import protocol
from retro_dash.serving.answers import Answers
from retro_dash.serving.model import MODEL_COPIES, kv_gib
from retro_dash.serving.models import Models, find_model
from retro_dash.serving.scheduler import Limits, Scheduler
from retro_dash.serving.tokens import encode_chat, encode_text

_KEY_VARIABLE = "RETRO_ENGINE_KEY"


def build_app(models: Models, scheduler: Scheduler, key: str | None = None) -> FastAPI:
    """The HTTP routes over a loaded model and a scheduler, which the app starts and stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduler.start()
        yield
        await run_in_threadpool(scheduler.stop)

    app = FastAPI(title="Retro Dash engine", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _add_errors(app)
    if key:
        _add_key_check(app, key)
    _add_model_routes(app, models, scheduler)
    _add_token_routes(app, models)
    answers = Answers(models, scheduler)

    @app.post("/v1/completions")
    async def complete(body: protocol.CompletionBody, request: Request) -> Response:
        return await answers.complete(body, request)

    @app.post("/v1/chat/completions")
    async def chat(body: protocol.ChatBody, request: Request) -> Response:
        return await answers.chat(body, request)

    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RetroDashError)
    async def known(request: Request, error: RetroDashError) -> JSONResponse:
        status = {422: 400}.get(error.http_status, error.http_status)
        kind = {400: "BadRequestError", 404: "NotFoundError"}.get(status, "InternalServerError")
        return JSONResponse(protocol.error_body(str(error), kind, status), status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        message = f"Field {place} is wrong: {first['msg']}."
        return JSONResponse(protocol.error_body(message, "BadRequestError", 400), 400)


def _add_key_check(app: FastAPI, key: str) -> None:
    @app.middleware("http")
    async def check(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        given = request.headers.get("authorization", "")
        if request.url.path != "/health" and not secrets.compare_digest(given.encode(), f"Bearer {key}".encode()):
            message = "This engine wants its key as a bearer token."
            return JSONResponse(protocol.error_body(message, "AuthenticationError", 401), 401)
        return await call_next(request)


def _add_model_routes(app: FastAPI, models: Models, scheduler: Scheduler) -> None:
    created = int(time.time())

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/stats")
    async def stats() -> dict[str, Any]:
        return {
            **scheduler.stats(),
            "model": models.base.name,
            "adapters": [model.name for model in models.served[1:]],
            "loaded_copies": models.loaded,
            "dtype": str(models.dtype).removeprefix("torch."),
            "device": str(models.device),
        }

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        cards = [
            {
                "id": model.name,
                "object": "model",
                "created": created,
                "owned_by": "retro-dash",
                "root": str(model.path),
                "parent": model.parent,
                "max_model_len": models.context_length,
            }
            for model in models.served
        ]
        return {"object": "list", "data": cards}

    @app.post("/v1/load_lora_adapter")
    def load(body: protocol.LoadAdapterBody) -> dict[str, str]:
        models.register(body.lora_name, Path(body.lora_path), scheduler.forget)
        return {"status": "ok", "message": f"{body.lora_name} is served."}

    @app.post("/v1/unload_lora_adapter")
    def unload(body: protocol.UnloadAdapterBody) -> dict[str, str]:
        runner = models.unregister(body.lora_name)
        if runner is not None:
            scheduler.forget(runner)
        return {"status": "ok", "message": f"{body.lora_name} is no longer served."}


def _add_token_routes(app: FastAPI, models: Models) -> None:
    tokenizer = models.tokenizer

    @app.post("/tokenize")
    def tokenize(body: protocol.TokenizeBody) -> dict[str, Any]:
        if (body.prompt is None) == (body.messages is None):
            raise BadInput("Give either a prompt or messages to tokenize.")
        if body.messages is not None:
            ids = encode_chat(
                tokenizer,
                [message.model_dump() for message in body.messages],
                add_generation_prompt=body.add_generation_prompt,
                plain_content=body.plain_content,
            )
        else:
            special = body.add_special_tokens is not False
            ids = encode_text(
                tokenizer, body.prompt or "", add_special_tokens=special, plain_content=body.plain_content
            )
        names = tokenizer.convert_ids_to_tokens(ids) if body.return_token_strs else None
        return {
            "count": len(ids),
            "max_model_len": models.context_length,
            "tokens": ids,
            "token_strs": names,
            "plain_content": body.plain_content,
        }

    @app.post("/detokenize")
    def detokenize(body: protocol.DetokenizeBody) -> dict[str, str]:
        wrong = [token for token in body.tokens if not 0 <= token < models.vocab_size]
        if wrong:
            raise BadInput(f"Token id {wrong[0]} is not in the vocabulary of {models.vocab_size}.")
        return {"prompt": tokenizer.decode(body.tokens)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Loads the model and serves until it is told to stop. Returns the exit code."""
    options = _parser().parse_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        if options.threads:
            torch.set_num_threads(options.threads)
        folder = find_model(options.model_dir)
        name = options.served_model_name or folder.resolve().name
        models = Models(folder, name, options.dtype, options.device, options.model_copies)
        if options.max_model_len:
            if options.max_model_len > models.context_length:
                raise BadConfig(
                    f"--max-model-len {options.max_model_len} is beyond the model's {models.context_length}."
                )
            models.context_length = options.max_model_len
    except RetroDashError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    room = options.kv_gib or kv_gib(psutil.virtual_memory().total)
    limits = Limits(int(room * 2**30), options.max_running, options.step_tokens)
    if options.die_with is not None:
        threading.Thread(target=_die_with, args=(options.die_with,), daemon=True).start()
    app = build_app(models, Scheduler(limits), os.environ.get(_KEY_VARIABLE))
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=5)
    return 0


def _die_with(pid: int) -> None:
    """Ends this process when its parent is no longer `pid`, so that no engine outlives its hub."""
    while os.getppid() == pid:
        time.sleep(1)
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Serve a local model over an OpenAI-compatible API.")
    parser.add_argument("--model-dir", required=True, help="a transformers folder with safetensors, or a hub id")
    parser.add_argument("--served-model-name", help="its name in the API (default: the folder's name)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    parser.add_argument(
        "--kv-gib", type=float, default=0, help="memory for keys and values (default: a sixth, 1 to 8)"
    )
    parser.add_argument("--max-model-len", type=int, default=0, help="a smaller context than the model's own")
    parser.add_argument("--max-running", type=int, default=64, help="requests that are computed at the same time")
    parser.add_argument("--step-tokens", type=int, default=512, help="prompt tokens computed in one step")
    parser.add_argument("--model-copies", type=int, default=MODEL_COPIES, help="merged adapters kept in memory")
    parser.add_argument("--die-with", type=int, metavar="PID", help="exit when the parent process PID is gone")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
