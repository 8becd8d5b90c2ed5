"""The audit log: who did what, and never a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts_examples import BEARER, PASSWORD, TOKEN, add_users, client_of, hub, sign_in

from retro_dash.audit import AuditLog, read_audit
from retro_dash.guard import Guard
from retro_dash.roles import Role

ROOT = Path(__file__).parents[2]
CANARY = "canary-4f1d9a"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Guard]:
    with hub(tmp_path) as app:
        yield app


def lines(home: Path) -> list[tuple[str, str, str, str, int]]:
    entries, _ = read_audit(home / "audit.jsonl", 1000)
    return [(one.who, one.role, one.method, one.path, one.status) for one in entries]


def test_sign_ins_refusals_and_changes_are_written_and_reading_is_not(app: Guard, tmp_path: Path):
    tokens = add_users(tmp_path)
    client = client_of(app)
    client.get("/api/v1/status")
    sign_in(client, "viewer", "wrong password")
    sign_in(client, "viewer")
    client.get("/api/v1/status")
    client.get("/api/v1/users")
    script = {"authorization": f"Bearer {tokens[Role.ANNOTATOR]}"}
    client_of(app).post("/api/v1/queue/release", json={"annotator": "x", "episode_ids": []}, headers=script)
    client_of(app).post("/api/v1/queue/release", json={}, headers={**script, "origin": "http://evil.example"})
    assert lines(tmp_path) == [
        ("", "", "GET", "/api/v1/status", 401),
        ("", "", "POST", "/sign-in", 401),
        ("viewer", "viewer", "POST", "/sign-in", 303),
        ("viewer", "viewer", "GET", "/api/v1/users", 403),
        ("annotator", "annotator", "POST", "/api/v1/queue/release", 204),
        ("", "", "POST", "/api/v1/queue/release", 403),
    ]
    shown = client_of(app).get("/api/v1/audit?limit=1", headers=BEARER).json()
    assert [entry["status"] for entry in shown] == [403]
    command = [sys.executable, "-m", "retro_dash.cli", "users", "audit", "--home", str(tmp_path), "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines()
    assert [json.loads(line)["status"] for line in printed] == [401, 401, 303, 403, 204, 403]


def test_no_secret_reaches_a_file_or_the_terminal(app: Guard, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    add_users(tmp_path)
    client = client_of(app)
    sign_in(client, "viewer", CANARY)
    sign_in(client, CANARY, CANARY)
    client.get(f"/api/v1/status?token={CANARY}", headers={"accept": "text/html"})
    client.get("/api/v1/status", headers={"authorization": f"Bearer {CANARY}"})
    client.get("/api/v1/status", headers={"cookie": f"retro_dash_7860={CANARY}"})
    client.post(f"/api/v1/labels?key={CANARY}", json={"labels": CANARY}, headers=BEARER)
    sign_in(client, "viewer")
    session = client.cookies["retro_dash_7860"]
    written = "".join(
        path.read_text("utf-8", "replace")
        for path in tmp_path.rglob("*")
        if path.suffix in (".json", ".jsonl", ".log")
    )
    said = capfd.readouterr()
    for secret in (CANARY, session, TOKEN, PASSWORD):
        assert secret not in written
        assert secret not in said.out + said.err
    assert len(lines(tmp_path)) >= 6


def test_a_flood_of_refusals_is_counted_and_not_written(tmp_path: Path):
    log = AuditLog(tmp_path / "audit.jsonl")
    for _ in range(500):
        log.write("", "", "10.0.0.9", "GET", "/x", 401)
    log.write("ann", "admin", "10.0.0.1", "POST", "/x" * 500, 200)
    entries, _ = read_audit(tmp_path / "audit.jsonl", 1000)
    assert 200 <= len(entries) < 260
    assert entries[-1].who == "ann"
    assert entries[-1].left_out == 501 - len(entries)
    assert len(entries[-1].path) == 300


def test_a_path_cannot_break_out_of_its_line(tmp_path: Path):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write("ann", "admin", "::1", "POST", '/x\n{"who": "bob"}\x1b[31m\ud800', 200)
    assert len((tmp_path / "audit.jsonl").read_bytes().splitlines()) == 1
    assert [entry.who for entry in read_audit(tmp_path / "audit.jsonl")[0]] == ["ann"]


def test_a_line_that_does_not_read_is_left_out(tmp_path: Path):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.write("ann", "admin", "::1", "POST", "/x", 200)
    with (tmp_path / "audit.jsonl").open("a") as file:
        file.write('{"torn": ')
    assert len(read_audit(tmp_path / "audit.jsonl")[0]) == 1
