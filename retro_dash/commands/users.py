"""`retro-dash users`: accounts, their roles and tokens, and the audit log. The first account turns sign-in on."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from data.errors import BadInput
from retro_dash.accounts import Accounts, user_row
from retro_dash.audit import Entry, read_audit
from retro_dash.roles import Role
from retro_dash.settings import Settings

ROLES = tuple(role.value for role in Role if role is not Role.ANYONE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = _verb(verbs, "add", "add a user; the password is asked for")
    add.add_argument("--role", choices=ROLES, default="viewer", help="default viewer")
    _verb(verbs, "remove", "remove a user; sessions and tokens end at once")
    _verb(verbs, "set-role", "change a user's role").add_argument("role", choices=ROLES)
    password = _verb(verbs, "password", "set a new password and end the user's sessions")
    for one in (add, password):
        one.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    _verb(verbs, "sign-out", "end all sessions of a user")
    token = _verb(verbs, "token", "make a token for scripts and print it once")
    token.add_argument("--label", default="script", help="name of the token (default script)")
    token.add_argument("--days", type=int, default=90, help="days until it expires (default 90)")
    _verb(verbs, "revoke", "end a token").add_argument("--label", default="script", help="name of the token")
    verbs.add_parser("list", help="list users, roles and tokens")
    audit = verbs.add_parser("audit", help="show sign-ins, refusals and changes")
    audit.add_argument("--limit", type=int, default=50, help="lines at most (default 50)")
    for verb in verbs.choices.values():  # Also after the verb, where people write them.
        verb.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        verb.add_argument("--home", type=Path, default=argparse.SUPPRESS, help="folder of the store and the accounts")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.add_argument("name", metavar="NAME")
    return verb


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    accounts = Accounts(settings.home)
    match arguments.verb:
        case "add":
            accounts.add(arguments.name, Role(arguments.role), _password(arguments.password_stdin))
            said = f"{arguments.name} may sign in as {arguments.role}."
        case "remove":
            accounts.remove(arguments.name)
            said = f"{arguments.name} is removed." + ("" if accounts.users() else " No accounts are left.")
        case "set-role":
            accounts.set_role(arguments.name, Role(arguments.role))
            said = f"{arguments.name} is {arguments.role} now."
        case "password":
            accounts.set_password(arguments.name, _password(arguments.password_stdin))
            said = f"{arguments.name} has a new password and is signed out everywhere."
        case "sign-out":
            accounts.sign_out(arguments.name)
            said = f"{arguments.name} is signed out everywhere."
        case "token":
            return _make_token(accounts, arguments)
        case "revoke":
            accounts.revoke_token(arguments.name, arguments.label)
            said = f"The token {arguments.label!r} of {arguments.name} is revoked."
        case "list":
            return _list(accounts, arguments.json)
        case _:
            return _audit(read_audit(settings.home / "audit.jsonl", arguments.limit)[0], arguments.json)
    print(json.dumps({"done": said}) if arguments.json else said)
    return 0


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise BadInput("The two passwords differ. Try again.")
    return first


def _make_token(accounts: Accounts, arguments: argparse.Namespace) -> int:
    secret = accounts.make_token(arguments.name, arguments.label, arguments.days)
    if arguments.json:
        print(json.dumps({"user": arguments.name, "label": arguments.label, "token": secret}))
    else:
        print(secret)
        print(f"Shown once; it expires in {arguments.days} days.", file=sys.stderr)
    return 0


def _list(accounts: Accounts, as_json: bool) -> int:
    for user in accounts.users().values():
        row = user_row(user)
        tokens = ", ".join(f"{name} until {expires:%Y-%m-%d}" for name, expires in row.tokens.items())
        print(row.model_dump_json() if as_json else f"{row.name:20} {row.role:10} {tokens}".rstrip())
    return 0


def _audit(entries: list[Entry], as_json: bool) -> int:
    for one in entries:
        who = f"{one.who} ({one.role})" if one.who else "nobody"
        line = f"{one.at:%Y-%m-%d %H:%M:%S}  {one.status}  {one.method:6} {one.path}  {who}  {one.address}"
        print(one.model_dump_json() if as_json else line)
    return 0
