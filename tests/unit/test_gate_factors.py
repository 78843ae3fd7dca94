"""Second factors as values: what counts as a PIN, codes by RFC 6238, no code twice, a lock that doubles."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.gate import factors
from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.errors import Exit, LimitReached, UsageError
from nightcrew.model.people import Person, Totp

SECRET = base64.b32encode(b"12345678901234567890").decode()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)  # fmt: skip
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert factors.make_code(SECRET, seconds // 30) == code
    assert factors.make_code(SECRET.rstrip("=").lower(), seconds // 30) == code


@given(st.integers(-5, 5), st.integers(0, 29), st.integers(-3, 3))
def test_a_code_is_good_one_step_either_way_and_once(off: int, second: int, last: int) -> None:
    at = NOW + timedelta(seconds=second)
    now = factors.read_step(at)
    totp = Totp(SECRET, last_step=now + last)
    code = factors.make_code(SECRET, now + off)
    good = abs(off) <= 1 and off > last
    assert factors.match_code(totp, code, at) == (now + off if good else 0)
    assert factors.was_used(totp, code, at) == (abs(off) <= 1 and off <= last)


@pytest.mark.parametrize("text", ["", "12345", "1234567", "abcdef", "12 456", "１２３４５６", "\udcff" * 6])
def test_what_is_no_code_is_not_taken(text: str) -> None:
    assert factors.match_code(Totp(SECRET), text, NOW) == 0
    assert factors.match_code(Totp("not base 32!"), text, NOW) == 0


@pytest.mark.parametrize("pin", ["", "123", "1234567890123", "12a4", "１２３４", " 4711", "4711\n", "-471"])
def test_what_is_no_pin(pin: str) -> None:
    with pytest.raises(UsageError) as caught:
        factors.check_pin(pin)
    assert caught.value.code == "auth.pin"
    assert not pin.strip() or pin.strip() not in caught.value.message


@pytest.mark.parametrize("pin", ["0000", "1111", "1234", "4321", "345678", "890123", "999999999999"])
def test_what_everybody_tries_first_is_no_pin(pin: str) -> None:
    with pytest.raises(UsageError, match="first that anybody tries"):
        factors.check_pin(pin)


@pytest.mark.parametrize("pin", ["4711", "1904", "000001", "482915036412"])
def test_a_pin(pin: str) -> None:
    factors.check_pin(pin)


def test_five_wrong_ones_lock_and_each_further_lock_lasts_twice_as_long() -> None:
    person, now, lasted = Person("ada"), NOW, []
    for _ in range(12):
        for number in range(factors.TRIES):
            factors.refuse_locked(person, now)
            person = factors.begin(person, now)
            assert bool(person.locked_until) == (number == factors.TRIES - 1 or bool(lasted))
        with pytest.raises(LimitReached, match="locked out") as caught:
            factors.refuse_locked(person, now)
        assert caught.value.exit == Exit.LIMIT
        until = parse_stamp(person.locked_until)
        lasted.append(int((until - now).total_seconds()))
        with pytest.raises(LimitReached):
            factors.refuse_locked(person, until - timedelta(seconds=1))
        now = until
    assert lasted[:4] == [900, 1800, 3600, 7200]
    assert lasted[-1] == factors.LONGEST_LOCK_S
    right = factors.passed(person)
    assert (right.failures, right.locked_until, right.lockouts) == (0, "", 0)


def test_the_try_is_wrong_until_it_is_found_right() -> None:
    person = Person("ada", failures=4)
    begun = factors.begin(person, NOW)
    assert begun.locked_until == stamp(NOW + timedelta(seconds=900)), "a kill now leaves it locked"
    assert factors.passed(begun).locked_until == ""


def test_a_backup_code_is_good_once_and_forgives_how_it_is_typed() -> None:
    code = factors.show_code(bytes(range(32)))
    assert factors.is_backup(code)
    assert not factors.is_backup("123456")
    assert not factors.is_backup("123 456")
    person = Person("ada", backup=(factors.hash_code(code), factors.hash_code("other")))
    left = factors.spend_backup(person, code.upper().replace("-", " "))
    assert left is not None
    assert len(left.backup) == 1
    assert factors.spend_backup(left, code) is None
    assert code not in repr(person)


def test_a_secret_and_its_address() -> None:
    secret = factors.make_secret(bytes(32))
    assert len(base64.b32decode(secret)) == 20
    assert factors.make_address("ada l", secret).startswith("otpauth://totp/nightcrew:ada%20l?secret=AAAA")
    assert secret not in repr(Totp(secret))
