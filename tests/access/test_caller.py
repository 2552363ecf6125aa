from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.access.caller import Caller, Right, Team, VirtualKey

NOW = datetime(2024, 5, 1, tzinfo=UTC)
TEAM = Team("t", "team", NOW, models=("moa-3", "gpt"), vendors=("openai",))
KEY = VirtualKey("k", "key", "moa-00000000", NOW, team=TEAM, models=("moa-3", "other"))


def test_a_model_must_be_allowed_by_key_and_team() -> None:
    caller = Caller("c", KEY)
    assert caller.may_use("moa-3")
    assert not caller.may_use("gpt")
    assert not caller.may_use("other")


def test_every_upstream_must_be_allowed() -> None:
    caller = Caller("c", KEY)
    assert caller.may_reach(["openai"])
    assert not caller.may_reach(["openai", "anthropic"])
    assert caller.may_reach([])


def test_who_has_no_virtual_key_may_use_everything() -> None:
    caller = Caller("c")
    assert caller.may_use("anything")
    assert caller.may_reach(["anyone"])
    assert caller.may(Right.CALL)
    assert not caller.may(Right.ADMIN)


@pytest.mark.parametrize("end", ["expires", "revoked", "replaced_until"])
def test_a_key_works_until_its_first_end(end: str) -> None:
    key = replace(KEY, **{end: NOW})
    assert key.works(NOW - timedelta(microseconds=1))
    assert not key.works(NOW)
    assert KEY.works(NOW)
