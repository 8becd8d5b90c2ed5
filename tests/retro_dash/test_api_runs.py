"""Background runs over HTTP: checked before, listed while, compared after."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from data.events import AdapterPublished, EpisodeStarted, Event, MetricsLogged, RunCreated, RunStateChanged
from data.store import Store
from data.types import (
    Adapter,
    Completion,
    Episode,
    EpisodeState,
    Reflection,
    Run,
    RunState,
    StopReason,
    Task,
    Trial,
    Turn,
)
from retro_dash.api import add_api
from retro_dash.commands.train import read_train_config
from retro_dash.service import Service
from retro_dash.settings import Settings

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
TRAIN = {"kind": "train", "model": "tiny", "train": {"method": "sft"}}


def trial(index: int, success: bool, completion: Completion | None = None) -> Trial:
    turn = Turn(
        index=1, thought="t" * 30, action="a" * 10, observation="o" * 40, reward=float(success), completion=completion
    )
    return Trial(
        index=index,
        prompt="p" * 100,
        opening="",
        turns=(turn,),
        reward=float(success),
        success=success,
        stop_reason=StopReason.SOLVED if success else StopReason.FAILED,
        started_at=NOW,
        finished_at=NOW,
    )


def episode(number: int, *, completion: Completion | None = None) -> Episode:
    """Failed, reflected, solved."""
    return Episode(
        id=f"ep-{number}",
        task=Task(id=f"task-{number}", env="alfworld", split="train", instruction=f"put {number} on the shelf"),
        planner=completion.policy if completion else "expert",
        reflector="expert",
        trials=(trial(1, False, completion), trial(2, True, completion)),
        reflections=(Reflection(after_trial=1, text="r" * 60, author="expert", prompt="q" * 200, created_at=NOW),),
        state=EpisodeState.SOLVED,
        run_id="import-1",
        created_at=NOW,
    )


class Hub:
    """A service with its API; the runs of its queue do not start."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store.open(home)
        self.service = Service(Settings(home=home, model="tiny"), self.store)
        app = FastAPI()
        add_api(app, self.service)
        self.http = TestClient(app)

    def tell(self, run_id: str, *bodies: Any, start: int = 0) -> None:
        self.store.append([Event(run_id=run_id, seq=start + n, at=NOW, body=body) for n, body in enumerate(bodies)])

    def add_episodes(self, *episodes: Episode) -> None:
        run = Run(id="import-1", kind="import", state=RunState.FINISHED, created_at=NOW)
        self.tell("import-1", RunCreated(run=run), *(EpisodeStarted(episode=one) for one in episodes))

    def add_run(self, run_id: str, kind: str, config: dict[str, Any], *bodies: Any) -> None:
        given = {"id": run_id, "kind": kind, "config": config, "state": "running", "created_at": NOW}
        finished = RunStateChanged(state=RunState.FINISHED)
        self.tell(run_id, RunCreated(run=Run.model_validate(given)), *bodies, finished)
        (self.home / "runs" / run_id).mkdir(parents=True)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(f"/api/v1{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def check(self, filter_: str = "", **train: Any) -> Any:
        body = {"config": {**TRAIN, "train": {"method": "sft", **train}}, "filter": filter_}
        return self.http.post("/api/v1/train/check", json=body)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 1000, "dtype": "float32"}
    (tmp_path / "models" / "tiny" / "config.json").write_text(json.dumps(shape))
    (tmp_path / "models" / "tiny" / "model.safetensors").write_bytes(b"\0" * 4000)
    made = Hub(tmp_path)
    yield made
    made.service.close()


def texts(check: dict[str, Any], level: str) -> str:
    return " ".join(finding["text"] for finding in check["findings"] if finding["level"] == level)


def test_a_check_counts_rows_tokens_and_steps_as_training_will(hub: Hub) -> None:
    hub.add_episodes(episode(1), episode(2))
    check = hub.check(batch={"epochs": 3, "tokens_per_step": 100}).json()
    # A planner row: prompt 100/4+1, reply 40/4+1, observation 40/4+1 = 26+11+11; a reflector row: 51+16.
    # The two episodes say the same, so their second rows are repeats and left out.
    assert check["forecast"]["rows"] == {"planner imitation": 1, "reflector imitation": 1}
    assert check["forecast"]["tokens"] == 48 + 67
    assert check["forecast"]["trained_tokens"] == 11 + 16
    assert check["forecast"]["steps"] == 6
    assert check["forecast"]["step_tokens"] == 3 * (48 + 67)
    assert "2 episodes, about 2 of them solved" in texts(check, "ok")
    assert "no run with this model has been measured" in texts(check, "note")
    assert texts(check, "stop") == ""


def test_the_time_is_that_of_the_newest_run_with_the_model(hub: Hub) -> None:
    hub.add_episodes(episode(1))
    pace = MetricsLogged(step=1, values={"planner/tokens_per_second": 23.0})
    hub.add_run("train-1", "train", TRAIN, pace)
    check = hub.check(batch={"epochs": 2}).json()
    assert check["forecast"]["seconds"] == pytest.approx(2 * 115 / 23)
    assert "the pace of train-1 here" in texts(check, "ok")


def test_rl_without_sampled_tokens_is_stopped_before_it_starts(hub: Hub) -> None:
    hub.add_episodes(episode(1))
    check = hub.check(method="retroact").json()
    assert "needs sampled trials or reflections with log-probabilities" in texts(check, "stop")


def test_rl_on_tokens_without_log_probabilities_names_the_episode(hub: Hub) -> None:
    sampled = Completion(policy="tiny", text="x", context_ids=(1, 2), token_ids=(3,))
    hub.add_episodes(episode(1, completion=sampled))
    check = hub.check(method="rl_planner").json()
    assert "trial 1 of episode ep-1 has no log-probability for every sampled token" in texts(check, "stop")


def test_no_episodes_and_an_absent_model_are_stopped_and_a_broken_filter_refused(hub: Hub) -> None:
    assert "finds no episodes" in texts(hub.check("outcome:failed").json(), "stop")
    body = {"config": {**TRAIN, "model": "nowhere"}, "filter": ""}
    hub.add_episodes(episode(1))
    assert "no model folder 'nowhere'" in texts(hub.http.post("/api/v1/train/check", json=body).json(), "stop")
    assert hub.check("colour:red").status_code == 422
    answer = hub.check(batch={"epochs": 0})
    assert (answer.status_code, "epochs" in answer.json()["detail"]) == (422, True)


def test_the_toml_beside_the_form_is_what_the_command_line_reads(hub: Hub, tmp_path: Path) -> None:
    hub.add_episodes(episode(1))
    given = {
        "method": "retroact",
        "preset": "paper",
        "credit": {"alpha": 2.5},
        "lora": {"targets": ["q_proj"]},
        "budget": {"max_seconds": 60},
        "start_adapters": {"planner": '/tmp/a "b"'},
    }
    body = {"config": {**TRAIN, "train": given, "exploration": {"iterations": 2}}, "filter": 'text:"it\'s"'}
    check = hub.http.post("/api/v1/train/check", json=body).json()
    path = tmp_path / "train.toml"
    path.write_text(check["toml"])
    assert read_train_config(path, Settings(home=tmp_path)) == check["config"]
    assert tomllib.loads(check["toml"])["credit"] == {"alpha": 2.5}
    assert check["command"] == """retro-dash train train.toml --filter 'text:"it'"'"'s"'"""


def test_every_field_of_the_forms_schema_that_is_not_plain_has_a_hint(hub: Hub) -> None:
    schema = hub.get("/train/schema")
    loss = schema["schema"]["$defs"]["LossConfig"]["properties"]
    assert loss["epsilon"]["description"] == "Half-width of the clip band around a ratio of 1."
    assert schema["methods"][0] == "sft"
    assert schema["model"] == "tiny"


def test_the_same_idempotency_key_is_one_run_and_its_lineage_says_what_it_came_from(hub: Hub) -> None:
    hub.add_episodes(episode(1), episode(2))
    body = {"kind": "train", "name": "mine", "config": TRAIN, "filter": "outcome:solved"}
    runs = [hub.http.post("/api/v1/runs", json=body, headers={"idempotency-key": "k"}).json() for _ in range(2)]
    assert runs[0]["id"] == runs[1]["id"]
    run_id = runs[0]["id"]
    hub.service.jobs.cancel(run_id, at_once=True)
    lineage = hub.get(f"/runs/{run_id}/lineage")
    assert (lineage["filter"], lineage["items"], lineage["adapters"]) == ("outcome:solved", 2, [])
    assert lineage["dataset_hash"] == runs[0]["dataset_hash"]
    assert {item["episode_id"] for item in hub.get(f"/runs/{run_id}/dataset")} == {"ep-1", "ep-2"}
    (row,) = hub.get("/runs/rows")
    assert (row["about"], row["total"]) == ("sft fixed", None)


def test_curves_come_as_columns_with_their_whole_length(hub: Hub) -> None:
    points = [MetricsLogged(step=step, values={"planner/il_loss": 2.0 / step, "x": 1.0}) for step in range(1, 101)]
    hub.add_run("train-1", "train", TRAIN, *points)
    (curve,) = hub.get("/runs/train-1/curves", name="planner/il_loss", max_points=20)
    assert (curve["total"], curve["steps"][0], curve["steps"][-1]) == (100, 1, 100)
    assert len(curve["steps"]) == len(curve["values"]) == len(curve["times"]) <= 40
    assert curve["times"][0] == NOW.timestamp()
    (row,) = hub.get("/runs/rows")
    assert row["spark_name"] == "planner/il_loss"
    assert row["spark"][0] == 2.0


def pages_of(hub: Hub, path: str, **params: Any) -> list[list[Any]]:
    """The pages of a list, following its `Link` header."""
    found = []
    while True:
        answer = hub.http.get(f"/api/v1{path}", params=params)
        found.append(answer.json())
        if "next" not in answer.links:
            return found
        params = dict(httpx.URL(answer.links["next"]["url"]).params)


def test_runs_of_one_moment_come_in_pages_that_neither_repeat_nor_lose_one(hub: Hub) -> None:
    for number in range(7):
        hub.add_run(f"train-{number}", "train", TRAIN)
    pages = pages_of(hub, "/runs", limit=3, kind="train")
    assert [[run["id"] for run in page] for page in pages] == [
        ["train-0", "train-1", "train-2"],
        ["train-3", "train-4", "train-5"],
        ["train-6"],
    ]


def test_a_run_that_goes_on_is_on_the_first_page_however_old_and_on_no_other(hub: Hub) -> None:
    old = Run(id="train-old", kind="train", state=RunState.RUNNING, created_at=NOW - timedelta(days=9))
    hub.tell(old.id, RunCreated(run=old))
    for number in range(4):
        hub.add_run(f"train-{number}", "train", TRAIN)
    pages = pages_of(hub, "/runs/rows", limit=2)
    assert [[row["run"]["id"] for row in page] for page in pages] == [
        ["train-0", "train-1", "train-old"],
        ["train-2", "train-3"],
    ]
    assert [[row["run"]["id"] for row in page] for page in pages_of(hub, "/runs/rows", kind="evaluate")] == [[]]


def test_what_a_run_works_on_comes_in_pages(hub: Hub) -> None:
    hub.add_run("train-1", "train", TRAIN)
    lines = "".join(episode(number).model_dump_json() + "\n" for number in range(5))
    (hub.home / "runs" / "train-1" / "dataset.jsonl").write_text(lines)
    pages = pages_of(hub, "/runs/train-1/dataset", limit=2)
    assert [[item["task_id"] for item in page] for page in pages] == [
        ["task-0", "task-1"],
        ["task-2", "task-3"],
        ["task-4"],
    ]


def test_a_run_that_is_not_there_is_one_sentence(hub: Hub) -> None:
    for path in ("curves", "lineage", "dataset", "log"):
        answer = hub.http.get(f"/api/v1/runs/nothing/{path}")
        assert answer.status_code == 404
        assert "nothing" in answer.json()["detail"]


# Adapters -----------------------------------------------------------------------------------------------------------


def adapter_folder(path: Path, base: str = "/models/tiny") -> Path:
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (path / "adapter_model.safetensors").write_bytes(b"\0" * 8)
    return path


def bring(hub: Hub, folder: Path, name: str = "theirs") -> Any:
    return hub.http.post("/api/v1/adapters/import", json={"folder": str(folder), "name": name, "role": "planner"})


def test_an_imported_adapter_is_copied_and_offered(hub: Hub, tmp_path: Path) -> None:
    folder = adapter_folder(tmp_path / "peft")
    assert bring(hub, folder).status_code == 201
    shutil.rmtree(folder)
    (row,) = hub.get("/adapters/rows")
    assert (row["adapter"]["name"], row["problem"], row["run_name"]) == ("theirs", None, "")
    assert (Path(row["adapter"]["path"]) / "adapter_model.safetensors").is_file()
    shutil.rmtree(row["adapter"]["path"])
    assert "is gone or not whole" in hub.get("/adapters/rows")[0]["problem"]


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (lambda path: (path / "adapter_config.json").unlink(), "a", "is no PEFT adapter"),
        (lambda path: (path / "adapter_model.safetensors").unlink(), "a", "only safetensors are read"),
        (lambda path: (path / "more.bin").write_bytes(b"x"), "a", "is a pickle"),
        (lambda path: (path / "adapter_config.json").write_text("{}"), "a", "does not name its base model"),
        (lambda path: None, "../a", "cannot be used"),
    ],
)
def test_a_folder_that_is_no_safe_adapter_is_refused(
    hub: Hub, tmp_path: Path, spoil: Any, name: str, said: str
) -> None:
    folder = adapter_folder(tmp_path / "peft")
    spoil(folder)
    answer = bring(hub, folder, name)
    assert answer.status_code >= 400
    assert said in answer.json()["detail"]
    assert hub.get("/adapters/rows") == []


def test_an_adapter_of_another_base_is_refused_with_both_names(hub: Hub, tmp_path: Path) -> None:
    answer = bring(hub, adapter_folder(tmp_path / "peft", base="meta/llama-7b"))
    assert answer.status_code == 409
    assert "made for 'llama-7b' and the engine serves 'tiny'" in answer.json()["detail"]
    bring(hub, adapter_folder(tmp_path / "fits"))
    assert "is called 'theirs' already" in bring(hub, tmp_path / "fits").json()["detail"]


def test_a_published_adapter_and_the_evaluation_that_plays_it_lead_to_each_other(hub: Hub, tmp_path: Path) -> None:
    path = adapter_folder(tmp_path / "made")
    adapter = Adapter(
        name="planner@r1", role="planner", base_model="tiny", path=str(path), run_id="train-1", created_at=NOW
    )
    hub.add_run("train-1", "train", TRAIN, AdapterPublished(adapter=adapter))
    hub.add_episodes(episode(1))
    arms = [{"name": "base", "planner": "expert"}, {"name": "trained", "planner": "planner@r1"}]
    body = {"kind": "evaluate", "config": {"kind": "evaluate", "env": "alfworld", "arms": arms}, "filter": "id:ep-1"}
    run = hub.http.post("/api/v1/runs", json=body).json()
    hub.service.jobs.cancel(run["id"], at_once=True)
    assert run["config"]["adapters"] == {"planner@r1": str(path)}
    assert [one["id"] for one in hub.get("/runs/train-1/lineage")["evaluations"]] == [run["id"]]
    assert hub.get(f"/runs/{run['id']}/lineage")["plays"] == ["planner@r1"]


def test_a_finished_evaluation_is_a_result_and_a_score_of_its_adapter(hub: Hub, tmp_path: Path) -> None:
    interval = {"mean": 0.5, "low": 0.25, "high": 0.75}
    scores = {
        "measure": "reward",
        "tasks": 4,
        "trials": 1,
        **dict.fromkeys(("initial", "final", "average"), interval),
        "by_trial": [interval],
        "best_by_trial": [interval],
    }
    compared = {"difference": {"mean": 0.125, "low": 0.0, "high": 0.25}, "solved": [], "broken": []}
    arms = [
        {"arm": {"name": name, "planner": planner}, "reward": scores, "success": scores, "errors": 0, "compared": c}
        for name, planner, c in (("base", "tiny", None), ("ours", "theirs", compared))
    ]
    report = {
        "run_id": "evaluate-1",
        "env": "alfworld",
        "model": "tiny",
        "tasks": 4,
        "trials": 1,
        "seeds": [0],
        "measure": "reward",
        "arms": arms,
        "finished_at": NOW.isoformat(),
    }
    hub.add_run("evaluate-1", "evaluate", {"arms": [one["arm"] for one in arms], "seeds": [0]})
    assert hub.get("/results") == []
    (hub.home / "runs" / "evaluate-1" / "report.json").write_text(json.dumps(report))
    bring(hub, adapter_folder(tmp_path / "peft"))
    assert [one["run"]["id"] for one in hub.get("/results")] == ["evaluate-1"]
    (score,) = hub.get("/adapters/rows")[0]["scores"]
    assert (score["arm"], score["final"], score["difference"]) == ("ours", 0.5, 0.125)
