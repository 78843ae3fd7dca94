"""``nightcrew secrets scan | allow``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.screen import Screen
from nightcrew.model.text import count
from nightcrew.runtime.api import Runtime


@make("scan", example="nightcrew secrets scan .\nnightcrew secrets scan R-1/T02 --json", exits=(1, 3))
@click.argument("target", metavar="PATH|R-1/T01", default=".")
def scan(runtime: Runtime, screen: Screen, *, target: str) -> int:
    """Search files, or what a task changed, for secrets. Nothing of a secret is shown but its first and last characters.

    Exits 1 when something was found that promotion would refuse. Values that only a name in a test or example makes
    look secret, and keys that are meant to be seen, are told and do not count.
    """
    result = runtime.scan_secrets(target)
    if screen.json:
        screen.emit(result)
        return 1 if result["found"] else 0
    for each in result["secrets"]:
        word = "allowed" if each["allowed"] else each["severity"]
        screen.data(f"{word:<8} {each['message']}  ({each['rule']})")
    screen.say(f"{count(result['scanned'], 'file')} searched, {count(result['found'], 'secret')} found")
    if result["found"]:
        screen.hint(
            'if one may be there: nightcrew secrets allow FINGERPRINT --reason "why" --until YYYY-MM-DD'
        )
    return 1 if result["found"] else 0


@make(
    "allow",
    example='nightcrew secrets allow 3f0c9d2be47a6158c0de --reason "test key of a closed account" --until 2027-01-31',
    exits=(3, 4, 8),
)
@click.argument("fingerprint")
@click.option("--reason", required=True, metavar="TEXT", help="Why it may be there.")
@click.option(
    "--until", default="", metavar="YYYY-MM-DD", help="Last day it holds; 90 days from now by default."
)
@click.option("--force", is_flag=True, help="Also when nothing with this fingerprint was seen here.")
@proof_options
def allow(
    runtime: Runtime,
    screen: Screen,
    *,
    fingerprint: str,
    reason: str,
    until: str,
    force: bool,
    **options: Any,
) -> None:
    """Let one secret land, by its fingerprint: writes secrets.allow in .nightcrew/policy.yaml of this repository.

    It must have been seen: in what a task changed, at a promotion, or in the working tree as it is now.
    """
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("policy"))
    done = runtime.allow_secret(fingerprint, reason=reason, until=until, force=force, proof=proof)
    if screen.json:
        screen.emit(done)
        return
    where = f" (seen in {done['seen']})" if done["seen"] else ""
    screen.verb("Allowed", f"{done['fingerprint']} until {done['until']}, in {done['file']}{where}")


command = group("secrets", purpose="Secrets in files and in what tasks change.", commands=[scan, allow])
