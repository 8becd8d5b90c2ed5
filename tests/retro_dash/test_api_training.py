"""Training over HTTP on frozen datasets, what stands behind a point, longer runs, and what may be compared."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from run_examples import expert_episodes, make_home, make_train_run, rooms, start_worker
from test_api_runs import NOW, TRAIN, Hub, episode, hub, texts

from data.events import AdapterPublished, MetricsLogged, RunCreated, RunStateChanged
from data.types import Adapter, Run, RunState
from retro_dash.run_folder import RunFolder, all_events
from retro_dash.scores import Interval, Scores

__all__ = ["hub"]


@pytest.fixture
def dataset(hub: Hub) -> str:
    """Twelve episodes frozen, about half of their tasks kept for evaluation."""
    hub.add_episodes(*(episode(number) for number in range(12)))
    body = {"name": "solved rooms", "filter": "outcome:solved", "split": {"share": 0.5, "seed": 1}}
    frozen = hub.http.post("/api/v1/datasets", json=body).json()
    assert 0 < frozen["counts"]["training_episodes"] < 12
    return str(frozen["hash"])


def counts(hub: Hub, hash_: str) -> dict[str, int]:
    found: dict[str, int] = hub.get(f"/datasets/{hash_}")["version"]["counts"]
    return found


def test_a_check_looks_at_the_training_part_of_a_frozen_dataset(hub: Hub, dataset: str) -> None:
    body = {"config": TRAIN, "dataset": dataset[:8]}
    check = hub.http.post("/api/v1/train/check", json=body).json()
    assert check["forecast"]["episodes"] == counts(hub, dataset)["training_episodes"]
    assert check["command"] == f"retro-dash train train.toml --dataset {dataset[:8]}"


@pytest.mark.parametrize("hash_", ["nothing", ""])
def test_a_dataset_that_is_not_there_is_one_sentence(hub: Hub, dataset: str, hash_: str) -> None:
    for path, body in (("train/check", {}), ("runs", {"kind": "train"})):
        answer = hub.http.post(f"/api/v1/{path}", json={**body, "config": TRAIN, "dataset": hash_})
        assert answer.status_code == 404
        assert "solved rooms" in answer.json()["detail"]


def test_a_damaged_dataset_is_refused_before_a_run_is_made(hub: Hub, dataset: str) -> None:
    path = hub.home / "datasets" / dataset / "episodes.jsonl"
    path.write_text(path.read_text().replace("shelf", "chair"))
    for route, body in (("train/check", {}), ("runs", {"kind": "train"})):
        answer = hub.http.post(f"/api/v1/{route}", json={**body, "config": TRAIN, "dataset": dataset})
        assert "was changed after it was frozen" in answer.json()["detail"]
    assert hub.get("/runs/rows") == []


def test_a_run_on_a_dataset_names_it_in_its_lineage_and_survives_its_episodes(hub: Hub, dataset: str) -> None:
    run = hub.http.post("/api/v1/runs", json={"kind": "train", "config": TRAIN, "dataset": dataset[:8]}).json()
    hub.service.jobs.cancel(run["id"], at_once=True)
    lineage = hub.get(f"/runs/{run['id']}/lineage")
    assert (lineage["dataset_name"], lineage["dataset_hash"]) == ("solved rooms", dataset)
    assert lineage["filter"] == "outcome:solved"
    assert run["dataset_hash"] == dataset
    assert lineage["items"] == counts(hub, dataset)["training_episodes"]
    shutil.rmtree(hub.home / "datasets" / dataset)
    assert len(hub.get(f"/runs/{run['id']}/dataset")) == lineage["items"]


def test_what_a_dataset_keeps_for_evaluation_is_played_again_and_nothing_else(hub: Hub, dataset: str) -> None:
    config = {"kind": "evaluate", "env": "alfworld", "arms": [{"name": "base", "planner": "expert"}]}
    body = {"kind": "evaluate", "config": config, "dataset": dataset}
    run = hub.http.post("/api/v1/runs", json=body).json()
    hub.service.jobs.cancel(run["id"], at_once=True)
    played = {item["task_id"] for item in hub.get(f"/runs/{run['id']}/dataset")}
    trained = {item["task"]["id"] for item in hub.get(f"/datasets/{dataset}/training")}
    assert len(played) == counts(hub, dataset)["evaluation_tasks"]
    assert played.isdisjoint(trained)
    assert run["dataset_hash"] != dataset


def test_memory_that_is_not_there_stops_the_start_with_the_numbers(hub: Hub) -> None:
    hub.add_episodes(episode(1))
    check = hub.check(batch={"tokens_per_pack": 2_000_000_000, "max_length": 2}).json()
    assert "Lower batch.tokens_per_pack" in texts(check, "stop")
    assert "GiB are free" in texts(check, "stop")
    assert hub.get("/machine")["room"]["device"] == hub.service.meter.read().device


# The point of a curve -----------------------------------------------------------------------------------------------


def test_a_step_leads_to_the_episodes_that_it_learned_from(hub: Hub) -> None:
    hub.add_episodes(episode(1), episode(2))
    run = hub.http.post("/api/v1/runs", json={"kind": "train", "config": TRAIN}).json()
    hub.service.jobs.cancel(run["id"], at_once=True)
    folder = hub.home / "runs" / run["id"]
    samples = ["ep-1/trial/2", "ep-2/reflection-1-verdict/reflection/1", "ep-9/trial/1"]
    for place, steps in (("plan", [[0, 1, 0], [2]]), ("iteration-2/plan", [[1]])):
        (folder / place).mkdir(parents=True)
        (folder / place / "planner.json").write_text(json.dumps({"samples": samples, "steps": steps}))

    def behind(step: int, metric: str = "planner/il_loss") -> list[tuple[str, str, int]]:
        found = hub.get(f"/runs/{run['id']}/steps/{step}", metric=metric)
        return [(one["episode_id"], one["part"], one["number"]) for one in found]

    assert behind(1) == [("ep-1", "trial", 2), ("ep-2", "reflection", 1)]
    assert behind(1, "iteration2/planner/rl_loss") == [("ep-2", "reflection", 1)]
    assert behind(2) == [("ep-9", "trial", 1)]
    (first, _) = hub.get(f"/runs/{run['id']}/steps/1", metric="planner/il_loss")
    assert (first["task_id"], first["instruction"], first["solved"]) == ("task-1", "put 1 on the shelf", True)
    for step, metric in ((0, "planner/il_loss"), (3, "planner/il_loss"), (1, "reflector/x"), (1, "base/solved")):
        assert behind(step, metric) == []
    (folder / "plan" / "planner.json").write_text('{"samples": [')
    assert behind(1) == []


# Longer -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of a tiny LoRA over two epochs, worker and all."""
    home = tmp_path_factory.mktemp("trained")
    episodes = expert_episodes(rooms(4))
    make_home(home, episodes)
    steady = {"learning_rate": 2e-3, "schedule": "constant", "warmup_steps": 0}
    folder = make_train_run(home, episodes, roles=["planner"], lora={"rank": 2}, optimiser=steady)
    assert start_worker(folder).wait(120) == 0, folder.log.read_text()
    return folder


def adopt(hub: Hub, folder: RunFolder) -> str:
    """Put a finished run folder into the hub's home."""
    shutil.copytree(folder.path, hub.home / "runs" / folder.run_id)
    hub.store.append(list(all_events(folder.events)))
    return folder.run_id


def losses(hub: Hub, run_id: str) -> list[tuple[int, float]]:
    (curve,) = hub.get(f"/runs/{run_id}/curves", name="planner/il_loss")
    return list(zip(curve["steps"], curve["values"], strict=True))


def test_a_finished_run_is_extended_by_a_run_that_goes_on_where_it_ended(hub: Hub, trained: RunFolder) -> None:
    shutil.rmtree(hub.home / "models" / "tiny")
    shutil.copytree(trained.path.parent.parent / "models" / "tiny", hub.home / "models" / "tiny")
    run_id = adopt(hub, trained)
    headers = {"idempotency-key": "once"}
    answers = [hub.http.post(f"/api/v1/runs/{run_id}/extend", json={"epochs": 1}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    longer = answers[0].json()
    assert longer["id"] == answers[1].json()["id"] != run_id
    assert (longer["parent_id"], longer["config"]["train"]["batch"]["epochs"]) == (run_id, 3)
    hub.service.jobs.cancel(longer["id"])
    folder = RunFolder(hub.home / "runs" / longer["id"])
    assert start_worker(folder).wait(120) == 0, folder.log.read_text()
    events = list(all_events(folder.events))
    hub.store.append(events)
    before, after = losses(hub, run_id), losses(hub, longer["id"])
    assert after[0][0] == before[-1][0] + 1
    assert len(after) == len(before) // 2
    assert after[-1][1] < before[-1][1]
    assert hub.get(f"/runs/{longer['id']}/lineage")["parent"]["id"] == run_id
    assert hub.store.run(run_id).config["train"]["batch"]["epochs"] == 2


def test_an_adapter_that_was_damaged_says_so_and_is_not_loaded(hub: Hub, trained: RunFolder) -> None:
    adopt(hub, trained)
    (row,) = hub.get("/adapters/rows")
    assert row["problem"] is None
    weights = Path(row["adapter"]["path"]) / "adapter_model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert "adapter_model.safetensors was changed or cut off" in hub.get("/adapters/rows")[0]["problem"]
        answer = hub.http.post(f"/api/v1/adapters/{row['adapter']['name']}/load")
        assert (answer.status_code, "is damaged" in answer.json()["detail"]) == (422, True)
    finally:
        weights.write_bytes(whole)


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "running", "Only a finished run is extended"),
        ({"train": {"method": "retroformer"}}, "finished", "no single last state"),
        ({"exploration": {}}, "finished", "no single last state"),
        ({}, "finished", "was not kept"),
    ],
)
def test_a_run_that_cannot_go_on_says_what_to_do_instead(
    hub: Hub, changes: dict[str, Any], state: str, said: str
) -> None:
    run = Run.model_validate(
        {"id": "train-1", "kind": "train", "config": {**TRAIN, **changes}, "state": state, "created_at": NOW}
    )
    hub.tell("train-1", RunCreated(run=run), RunStateChanged(state=RunState(state)))
    (hub.home / "runs" / "train-1").mkdir(parents=True)
    answer = hub.http.post("/api/v1/runs/train-1/extend", json={"epochs": 1})
    assert answer.status_code == 409
    assert said in answer.json()["detail"]
    assert hub.http.post("/api/v1/runs/train-1/extend", json={"epochs": 0}).status_code == 422


# What may be compared -----------------------------------------------------------------------------------------------


def train_and_publish(hub: Hub, run_id: str, train: dict[str, Any], roles: tuple[str, ...]) -> None:
    adapters = [
        Adapter.model_validate(
            {"name": f"{role}@{run_id}", "role": role, "base_model": "tiny", "path": "/x", "run_id": run_id}
            | {"created_at": NOW}
        )
        for role in roles
    ]
    config = {**TRAIN, "train": train}
    hub.add_run(run_id, "train", config, *(AdapterPublished(adapter=one) for one in adapters))


def evaluated(hub: Hub, run_id: str, hour: int, tasks: str, arms: list[tuple[str, str, str]]) -> None:
    """A finished evaluation of the tasks called `tasks`, every arm with its own score."""
    config = {"kind": "evaluate", "env": "alfworld", "arms": [arm(*one) for one in arms], "trials": 2}
    run = Run.model_validate(
        {"id": run_id, "kind": "evaluate", "config": config, "state": "running"}
        | {"created_at": NOW + timedelta(hours=hour), "dataset_hash": tasks}
    )
    hub.tell(run_id, RunCreated(run=run), RunStateChanged(state=RunState.FINISHED))
    folder = hub.home / "runs" / run_id
    folder.mkdir(parents=True)
    reports = [{"arm": arm(*one), "reward": score(n), "success": score(n), "errors": 0} for n, one in enumerate(arms)]
    about = {"run_id": run_id, "env": "alfworld", "model": "tiny", "tasks": 5, "trials": 2, "seeds": [0]}
    report = {**about, "measure": "reward", "arms": reports, "finished_at": NOW.isoformat()}
    (folder / "report.json").write_text(json.dumps(report))


def arm(name: str, planner: str, reflector: str) -> dict[str, str]:
    return {"name": name, "planner": planner, "reflector": reflector}


def score(number: int) -> dict[str, Any]:
    one = Interval(mean=number / 10, low=0, high=1)
    scores = Scores(
        measure="reward",
        tasks=5,
        trials=2,
        initial=one,
        final=one,
        average=one,
        by_trial=(one, one),
        best_by_trial=(),
    )
    return scores.model_dump(mode="json")


@pytest.fixture
def compared(hub: Hub) -> list[Any]:
    train_and_publish(hub, "il", {"method": "sft"}, ("planner", "reflector"))
    train_and_publish(hub, "rl", {"method": "retroact", "loss": {"il_coefficient": 0.5}}, ("planner",))
    train_and_publish(hub, "pure", {"method": "rl_planner", "loss": {"il_coefficient": 0.0}}, ("planner",))
    train_and_publish(hub, "one", {"method": "sft"}, ("both",))
    evaluated(hub, "first", 1, "tasks-a", [("base", "tiny", "tiny"), ("old", "planner@il", "reflector@il")])
    evaluated(hub, "other", 2, "tasks-b", [("base", "tiny", "tiny")])
    arms = [("imitation", "planner@il", "reflector@il"), ("joint", "planner@rl", "tiny")]
    evaluated(hub, "second", 3, "tasks-a", [*arms, ("pure", "planner@pure", "tiny"), ("one", "both@one", "both@one")])
    found: list[Any] = hub.get("/results/sets")
    return found


def test_only_methods_that_played_the_same_tasks_stand_in_one_set(compared: list[Any]) -> None:
    names = [{one["arm"]["name"] for one in found["contenders"]} for found in compared]
    assert sorted(names, key=len) == [{"base"}, {"base", "imitation", "joint", "pure", "one"}]


def test_a_contender_says_what_its_players_were_trained_by(compared: list[Any]) -> None:
    whole = max(compared, key=lambda found: len(found["contenders"]))
    found = {one["arm"]["name"]: one for one in whole["contenders"]}
    assert found["base"]["planner"] is None
    terms = {
        name: (one["planner"]["terms"], one["planner"]["il_coefficient"])
        for name, one in found.items()
        if one["planner"]
    }
    assert terms == {"imitation": ("IL", None), "joint": ("IL + RL", 0.5), "pure": ("RL", 0.0), "one": ("IL", None)}
    assert found["one"]["planner"]["is_shared"]
    assert not found["imitation"]["planner"]["is_shared"]
    assert found["joint"]["reflector"] is None


def test_alerts_of_a_run_come_with_its_curves_and_metrics_hold_what_is_no_number(hub: Hub) -> None:
    points = [MetricsLogged(step=n, values={"planner/il_loss": float("nan") if n == 3 else 1.0}) for n in range(1, 5)]
    hub.add_run("train-1", "train", TRAIN, *points)
    (alert,) = hub.get("/runs/train-1/alerts")
    assert alert.startswith("planner/il_loss is not a number")
    (curve,) = hub.get("/runs/train-1/curves")
    assert curve["values"] == [1.0, 1.0, None, 1.0]


def test_a_close_up_of_a_long_curve_has_every_step_and_the_whole_has_its_extremes(hub: Hub) -> None:
    values = {step: (9.0 if step == 2345 else 1 / step) for step in range(1, 5001)}
    hub.add_run("train-1", "train", TRAIN, *(MetricsLogged(step=s, values={"x": v}) for s, v in values.items()))
    (whole,) = hub.get("/runs/train-1/curves", max_points=100)
    assert (whole["total"], whole["steps"][0], whole["steps"][-1], max(whole["values"])) == (5000, 1, 5000, 9.0)
    (near,) = hub.get("/runs/train-1/curves", max_points=100, start=2301, stop=2399)
    assert near["steps"] == list(range(2301, 2400))
    assert near["values"] == [values[step] for step in near["steps"]]
    assert hub.get("/runs/train-1/curves", start=6000, stop=7000) == []
    assert hub.http.get("/api/v1/runs/train-1/curves?start=1&stop=99999999999").status_code == 422
