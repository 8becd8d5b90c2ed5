"""Users, sessions and tokens: made by command, checked by the assembled hub."""

from __future__ import annotations

import io
import json
import shutil
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from accounts_examples import BEARER, PASSWORD, TOKEN, add_users, client_of, hub, sign_in
from curation_examples import fill, make_episode
from fastapi.testclient import TestClient

from data.errors import BadConfig, BadInput, Refused, StorageError, UnknownName
from data.store import Store
from retro_dash.accounts import Accounts, hash_password, is_password
from retro_dash.cli import main
from retro_dash.guard import Guard
from retro_dash.hub import _certificate, allowed_hosts
from retro_dash.limits import Attempts, Buckets
from retro_dash.roles import Role
from retro_dash.sessions import LIFETIME, Sessions
from retro_dash.settings import Settings, load_settings

STATUS = "/api/v1/status"


class Lab(NamedTuple):
    app: Guard
    home: Path
    accounts: Accounts
    tokens: dict[Role, str]

    def as_(self, role: Role) -> TestClient:
        client = client_of(self.app)
        client.headers["authorization"] = f"Bearer {self.tokens[role]}"
        return client

    def browser(self) -> TestClient:
        return client_of(self.app)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Role, str]]:
    """A home with four users and an episode, to be copied: hashing passwords is slow on purpose."""
    home = tmp_path_factory.mktemp("made")
    with Store.open(home) as store:
        fill(store, make_episode("e1"))
    return home, add_users(home)


@pytest.fixture
def lab(made: tuple[Path, dict[Role, str]], tmp_path: Path) -> Iterator[Lab]:
    home, tokens = made
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    with hub(tmp_path) as app:
        yield Lab(app, tmp_path, Accounts(tmp_path), tokens)


# The file


def test_a_password_is_kept_as_a_salted_scrypt_hash():
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    assert first != second
    assert first.startswith("scrypt$32768$8$1$")
    assert PASSWORD not in first
    assert is_password(PASSWORD, first)
    assert not is_password(PASSWORD + " ", first)
    assert not is_password("x" * 2000, first)


def test_the_files_are_for_their_owner_only(lab: Lab):
    sign_in(lab.browser(), "viewer")
    for name in ("users.json", "sessions.json", "audit.jsonl"):
        assert stat.S_IMODE((lab.home / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", " ann", "ann\n", "a/b", "../x", "<b>", "x" * 65, "-x", "änn"])
def test_an_odd_name_is_refused(tmp_path: Path, name: str):
    with pytest.raises(BadInput, match="no user name"):
        Accounts(tmp_path).add(name, Role.VIEWER, PASSWORD)


def test_a_short_password_and_a_taken_name_are_refused(tmp_path: Path):
    accounts = Accounts(tmp_path)
    with pytest.raises(BadInput, match="10 to 1024"):
        accounts.add("ann", Role.VIEWER, "short")
    accounts.add("ann", Role.VIEWER, PASSWORD)
    with pytest.raises(Refused, match="already"):
        accounts.add("ann", Role.ADMIN, PASSWORD)
    with pytest.raises(UnknownName):
        accounts.remove("bob")


def test_a_damaged_file_lets_nobody_in_not_even_as_the_only_user(lab: Lab):
    (lab.home / "users.json").write_text("{")
    with pytest.raises(StorageError):
        lab.accounts.users()
    assert lab.as_(Role.ADMIN).get(STATUS).status_code == 507
    assert lab.browser().get(f"/?token={TOKEN}").status_code == 507
    assert lab.browser().get(STATUS).status_code == 401


# Signing in


def test_a_user_signs_in_with_a_form_and_out_again(lab: Lab):
    client = lab.browser()
    turned_away = client.get("/episodes?filter=a%26b", headers={"accept": "text/html"})
    assert turned_away.status_code == 303
    assert turned_away.headers["location"] == "/sign-in?next=/episodes%3Ffilter%3Da%2526b"
    page = client.get(turned_away.headers["location"])
    assert page.status_code == 200
    assert 'value="/episodes?filter=a%26b"' in page.text
    answer = client.post(
        "/sign-in", data={"name": "operator", "password": PASSWORD, "next": "/episodes?filter=a%26b"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/episodes?filter=a%26b")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/api/v1/me").json() == {"name": "operator", "role": "operator", "is_owner": False}
    assert "operator" in client.get("/account").text
    stolen = dict(client.cookies)
    assert client.post("/sign-out").status_code == 303
    thief = lab.browser()
    thief.cookies.update(stolen)
    assert thief.get(STATUS).status_code == 401


def test_the_pages_of_signing_in_need_no_script_and_show_names_as_text(lab: Lab):
    page = sign_in(lab.browser(), "<script>pwn</script>", "wrong").text
    assert "<script" not in page
    assert "style=" not in page
    assert "&lt;script&gt;" in page


def test_the_cookie_is_secure_over_https(lab: Lab):
    answer = client_of(lab.app, "https://127.0.0.1:7860").post(
        "/sign-in", data={"name": "viewer", "password": PASSWORD}
    )
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("place", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", ""])
def test_signing_in_leads_nowhere_else(lab: Lab, place: str):
    answer = lab.browser().post("/sign-in", data={"name": "viewer", "password": PASSWORD, "next": place})
    assert answer.headers["location"] == "/"


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(lab: Lab):
    wrong, unknown = sign_in(lab.browser(), "viewer", "wrong-password"), sign_in(lab.browser(), "nobody")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("viewer", "") == unknown.text.replace("nobody", "")


def test_a_foreign_page_cannot_sign_anybody_in(lab: Lab):
    answer = lab.browser().post(
        "/sign-in", data={"name": "viewer", "password": PASSWORD}, headers={"origin": "http://evil.example"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("body", [b"", b"name=viewer", b"\xff\xfe=%ff", b"name=" + b"x" * 10_000, b"{}"])
def test_a_body_that_is_no_form_is_a_wrong_password(lab: Lab, body: bytes):
    assert lab.browser().post("/sign-in", content=body).status_code == 401


def test_after_ten_wrong_passwords_the_right_one_is_refused_too(lab: Lab):
    statuses = [sign_in(lab.browser(), "viewer", f"wrong-{number}").status_code for number in range(40)]
    assert statuses == [401] * 10 + [429] * 30
    locked = sign_in(lab.browser(), "viewer")
    assert locked.status_code == 429
    assert "Try again in 15 minutes" in locked.text
    assert sign_in(lab.browser(), "operator").status_code == 429  # The address is locked too.


def test_with_accounts_the_token_of_the_hub_no_longer_signs_a_browser_in(tmp_path: Path):
    with hub(tmp_path) as app:
        client = client_of(app)
        client.get(f"/?token={TOKEN}")
        assert client.get(STATUS).status_code == 200
        Accounts(tmp_path).add("ann", Role.VIEWER, PASSWORD)
        assert client.get(STATUS).status_code == 401
        assert (
            client_of(app)
            .get(f"/?token={TOKEN}", headers={"accept": "text/html"})
            .headers["location"]
            .startswith("/sign-in")
        )
        assert client_of(app).get(STATUS, headers=BEARER).status_code == 200  # Programs of the same user go on.


# Losing it again


def test_a_removed_user_is_out_at_once(lab: Lab):
    client, script = lab.browser(), lab.as_(Role.OPERATOR)
    sign_in(client, "operator")
    assert (client.get(STATUS).status_code, script.get(STATUS).status_code) == (200, 200)
    lab.accounts.remove("operator")
    assert (client.get(STATUS).status_code, script.get(STATUS).status_code) == (401, 401)


def test_a_lower_role_holds_at_once(lab: Lab):
    script = lab.as_(Role.ADMIN)
    assert script.get("/api/v1/users").status_code == 200
    lab.accounts.set_role("admin", Role.VIEWER)
    assert script.get("/api/v1/users").status_code == 403


@pytest.mark.parametrize("how", ["password", "sign_out"])
def test_a_new_password_and_signing_out_everywhere_end_sessions_but_not_tokens(lab: Lab, how: str):
    client = lab.browser()
    sign_in(client, "viewer")
    if how == "password":
        lab.accounts.set_password("viewer", "another long password")
    else:
        lab.accounts.sign_out("viewer")
    assert client.get(STATUS).status_code == 401
    assert lab.as_(Role.VIEWER).get(STATUS).status_code == 200


def test_a_token_ends_when_it_is_revoked_or_expires(lab: Lab):
    script = lab.as_(Role.VIEWER)
    assert script.get(STATUS).status_code == 200
    with pytest.raises(Refused, match="has a token"):
        lab.accounts.make_token("viewer", "script", 1)
    lab.accounts.revoke_token("viewer", "script")
    assert script.get(STATUS).status_code == 401
    secret = lab.accounts.make_token("viewer", "late", 1)
    assert secret not in (lab.home / "users.json").read_text()
    text = (lab.home / "users.json").read_text()
    late = lab.accounts.user("viewer").tokens[0].expires_at
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    (lab.home / "users.json").write_text(text.replace(late.isoformat().replace("+00:00", "Z"), past))
    assert lab.browser().get(STATUS, headers={"authorization": f"Bearer {secret}"}).status_code == 401


def test_a_session_ends_after_its_time(tmp_path: Path):
    secret = Sessions(tmp_path / "sessions.json").start("ann")
    assert Sessions(tmp_path / "sessions.json").find(secret).user == "ann"
    rows = json.loads((tmp_path / "sessions.json").read_text())
    old = (datetime.now(UTC) - LIFETIME - timedelta(seconds=1)).isoformat()
    (tmp_path / "sessions.json").write_text(json.dumps({key: [user, old] for key, (user, _) in rows.items()}))
    assert Sessions(tmp_path / "sessions.json").find(secret) is None
    assert secret not in (tmp_path / "sessions.json").read_text()


# In whose name


def label(client: TestClient, id_: str, annotator: str, **changes: object):
    target = {"episode_id": "e1", "part": "episode"}
    request = {"id": id_, "target": target, "name": "verdict", "value": "good", "annotator": annotator, **changes}
    return client.post("/api/v1/labels", json={"labels": [request]})


def test_a_label_is_made_in_the_name_of_who_is_signed_in(lab: Lab):
    answer = label(lab.as_(Role.ANNOTATOR), "l1", "operator")
    assert answer.json()[0]["label"]["annotator"] == "annotator"
    owner = client_of(lab.app).post
    answer = owner("/api/v1/labels", headers=BEARER, json={"labels": [{
        "id": "l2", "target": {"episode_id": "e1", "part": "episode"}, "name": "note", "value": "x",
        "annotator": "guest",
    }]})  # fmt: skip
    assert answer.json()[0]["label"]["annotator"] == "guest"


def test_nobody_takes_back_what_another_said(lab: Lab):
    label(lab.as_(Role.OPERATOR), "theirs", "operator")
    mine = lab.as_(Role.ANNOTATOR)
    assert label(mine, "undo-1", "operator", undoes="theirs", value=None).status_code == 409
    assert mine.post("/api/v1/labels/undo", json={"annotator": "operator", "id": "undo-2"}).status_code == 409
    (standing,) = mine.get("/api/v1/labels").json()
    assert (standing["id"], standing["annotator"]) == ("theirs", "operator")


def test_nobody_gives_back_what_another_holds(lab: Lab):
    theirs, mine = lab.as_(Role.OPERATOR), lab.as_(Role.ANNOTATOR)
    assert theirs.get("/api/v1/queue?annotator=annotator").status_code == 200
    mine.post("/api/v1/queue/release", json={"annotator": "operator", "episode_ids": ["e1"]})
    held = mine.get("/api/v1/queue?annotator=operator").json()
    assert "e1" not in json.dumps(held.get("items", held.get("episodes", held)))


# Limits


def test_a_bucket_fills_again_with_time():
    now = [0.0]
    buckets = Buckets(rate=2, burst=3, clock=lambda: now[0])
    assert [buckets.wait("ann") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.wait("bob") == 0
    now[0] = 0.5
    assert [buckets.wait("ann"), buckets.wait("ann")] == [0, 0.5]


def test_attempts_slow_down_lock_and_open_again():
    now = [0.0]
    attempts = Attempts(most=3, lock_seconds=60, clock=lambda: now[0])
    delays = []
    for _ in range(3):
        assert attempts.begin("user ann", "address a") == 0
        delays.append(attempts.delay("user ann", "address a"))
    assert delays == [0.1, 0.2, 0.4]
    now[0] = 20
    assert attempts.begin("user ann", "address b") == 40
    assert attempts.begin("user bob", "address a") == 40
    assert attempts.begin("user bob", "address b") == 0
    now[0] = 61
    assert attempts.begin("user ann", "address a") == 0


def test_an_account_of_ones_own_does_not_buy_more_guesses():
    attempts = Attempts(most=3)
    for _ in range(2):
        attempts.begin("user ann", "address a")
    attempts.begin("user mallory", "address a")
    attempts.succeed("user mallory", "address a")
    assert attempts.begin("user ann", "address a") == 0
    assert attempts.begin("user ann", "address a") > 0


def test_a_user_who_asks_too_often_is_told_to_wait(lab: Lab):
    lab.app._buckets = Buckets(rate=0.1, burst=3)
    client = lab.as_(Role.VIEWER)
    assert [client.get("/api/v1/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert int(client.get("/api/v1/me").headers["retry-after"]) in range(1, 12)
    assert lab.as_(Role.OPERATOR).get("/api/v1/me").status_code == 200


# Where to listen


def test_the_network_needs_accounts_and_names(tmp_path: Path):
    shared = Settings(home=tmp_path, host="0.0.0.0", allowed_hosts=("retro.example.org",))
    with pytest.raises(Refused, match="users add"):
        allowed_hosts(shared, has_users=False)
    assert set(allowed_hosts(shared, True)) == {"127.0.0.1", "localhost", "::1", "retro.example.org"}
    with pytest.raises(Refused, match="allowed_hosts"):
        allowed_hosts(shared.model_copy(update={"allowed_hosts": ()}), True)
    with pytest.raises(Refused, match="without a sandbox"):
        allowed_hosts(shared.model_copy(update={"unsafe_run_model_code_on_host": True}), True)
    assert "10.0.0.5" in allowed_hosts(Settings(home=tmp_path, host="10.0.0.5"), True)
    assert allowed_hosts(Settings(home=tmp_path), False) == ("127.0.0.1", "localhost", "::1")


def test_allowed_hosts_come_from_a_file_or_a_variable(tmp_path: Path):
    (tmp_path / "retro.toml").write_text('allowed_hosts = ["a.example"]')
    assert load_settings({"home": tmp_path}, {}).allowed_hosts == ("a.example",)
    environ = {"RETRO_ALLOWED_HOSTS": "a.example, b.example"}
    assert load_settings({"home": tmp_path}, environ).allowed_hosts == ("a.example", "b.example")


def test_a_hub_for_the_network_never_becomes_one_without_accounts(tmp_path: Path):
    from retro_dash.identity import Identity

    assert Identity(tmp_path, TOKEN).is_single_user
    assert not Identity(tmp_path, TOKEN, must_have_users=True).is_single_user


def test_a_certificate_that_does_not_read_is_refused(tmp_path: Path):
    (tmp_path / "cert.pem").write_text("hello")
    for certificate in (tmp_path / "cert.pem", tmp_path / "missing.pem"):
        with pytest.raises(BadConfig, match="--certificate FILE --key FILE"):
            _certificate(Settings(home=tmp_path, certificate=certificate))


# The command


@pytest.fixture
def users(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def run(*words: str, text: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        code = main(["users", *words, "--home", str(tmp_path)])
        return code, *capsys.readouterr()

    return run


def test_users_are_kept_by_command(users, tmp_path: Path):
    assert users("add", "ann", "--role", "annotator", "--password-stdin", text=PASSWORD + "\n")[0] == 0
    secret = users("token", "ann", "--days", "7")[1].strip()
    assert Accounts(tmp_path).by_token(secret).name == "ann"
    assert Accounts(tmp_path).by_password("ann", PASSWORD).role is Role.ANNOTATOR
    users("set-role", "ann", "operator")
    (row,) = [json.loads(line) for line in users("list", "--json")[1].splitlines()]
    assert (row["name"], row["role"], list(row["tokens"])) == ("ann", "operator", ["script"])
    assert secret not in users("list")[1]
    assert users("revoke", "ann")[0] == 0
    assert Accounts(tmp_path).by_token(secret) is None
    assert users("remove", "ann")[0] == 0
    code, _, said = users("remove", "ann")
    assert (code, said) == (2, "retro-dash: There is no user called 'ann'.\n")
    assert users("add", "bob", "--password-stdin", text="short\n")[0] == 2
