"""The admin API and a key's own usage, on a real socket over a real database."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.caller import Right
from tests.e2e.books import bearing, database_in, first_key
from tests.e2e.conftest import Gateway

BODY = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def admin(
    gateway_with: Callable[..., AbstractContextManager[Gateway]], tmp_path: Path
) -> Iterator[httpx.Client]:
    address = database_in(tmp_path)
    key = first_key(address, Right.ADMIN, Right.CALL)
    with gateway_with(database_url=address) as gateway, bearing(gateway.url, key) as client:
        yield client


def made(admin: httpx.Client, path: str = "/admin/keys", **body: Any) -> Any:
    answer = admin.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, param: str | None = None) -> Any:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    return error


def test_a_key_has_what_it_was_made_with_and_tells_its_secret_once(admin: httpx.Client) -> None:
    team = made(admin, "/admin/teams", name="red", budget=10, budget_window="month")
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    wanted = {
        "name": "laptop",
        "team": "red",
        "requests_per_minute": 60,
        "tokens_per_minute": 1000,
        "concurrent": 2,
        "budget": 0.1,
        "budget_window": "day",
        "models": ["panel"],
        "vendors": ["fake"],
        "rights": ["call"],
        "labels": {"for": "tests"},
    }
    key = made(admin, **wanted, expires=expires)
    assert key.pop("key").startswith(key["prefix"])
    assert {**key, **wanted, "team": {"id": team["id"], "name": "red"}} == key
    assert key == admin.get("/admin/keys/laptop").json()
    assert key == admin.get(f"/admin/keys/{key['id']}").json()
    assert datetime.fromisoformat(key["expires"]) == datetime.fromisoformat(expires)


def test_a_key_made_of_a_name_alone_may_call_and_see_proposals(admin: httpx.Client) -> None:
    assert made(admin, name="plain")["rights"] == ["call", "see_proposals"]


def test_a_change_touches_what_it_names_and_null_takes_a_limit_away(admin: httpx.Client) -> None:
    before = made(admin, name="a", budget=1, budget_window="day", concurrent=3, models=["plain"])
    after = admin.patch("/admin/keys/a", json={"budget": None, "budget_window": None, "name": "b"})
    del before["key"]
    assert after.json() == {**before, "budget": None, "budget_window": None, "name": "b"}
    assert admin.get("/admin/keys/a").status_code == 404


def test_a_changed_right_counts_for_the_next_request(admin: httpx.Client) -> None:
    secret = made(admin, name="a")["key"]
    with bearing(str(admin.base_url), secret) as client:
        assert client.get("/v1/models").status_code == 200
        assert admin.patch("/admin/keys/a", json={"rights": []}).status_code == 200
        assert client.get("/v1/models").status_code == 403


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": " a"}, "name"),
    ({"name": "a", "budget": -1}, "budget"),
    ({"name": "a", "budget": "much"}, "budget"),
    ({"name": "a", "budget": 1, "budget_window": "year"}, "budget_window"),
    ({"name": "a", "budget_window": "day"}, "budget_window"),
    ({"name": "a", "requests_per_minute": 1.5}, "requests_per_minute"),
    ({"name": "a", "concurrent": -1}, "concurrent"),
    ({"name": "a", "rights": ["rule"]}, "rights.0"),
    ({"name": "a", "models": "plain"}, "models"),
    ({"name": "a", "labels": {"a": 1}}, "labels.a"),
    ({"name": "a", "expires": "2020-01-01T00:00:00Z"}, "expires"),
    ({"name": "a", "expires": "2099-01-01T00:00:00"}, "expires"),
    ({"name": "a", "team": "nobody"}, "team"),
    ({"name": "a", "colour": "red"}, "colour"),
]


def test_a_wrong_field_is_refused_by_its_name(admin: httpx.Client) -> None:
    answers = [(body, admin.post("/admin/keys", json=body)) for body, _ in WRONG]
    assert [(body, answer.json()["error"]["param"]) for body, answer in answers] == WRONG
    assert {answer.status_code for _, answer in answers} == {400}


def test_a_body_that_is_no_json_is_refused_as_such(admin: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    error = refused(admin.post("/admin/keys", content=b"{", headers=headers), 400)
    assert error["message"] == "The body is no JSON"


def test_a_name_is_free_again_when_its_key_is_revoked(admin: httpx.Client) -> None:
    first = made(admin, name="a")
    assert refused(admin.post("/admin/keys", json={"name": "a"}), 409)["code"] == "name_taken"
    assert admin.delete("/admin/keys/a").status_code == 200
    assert made(admin, name="a")["id"] != first["id"]
    assert admin.get(f"/admin/keys/{first['id']}").json()["revoked"]


def test_a_revoked_key_stays_as_it_is(admin: httpx.Client) -> None:
    key = made(admin, name="a")["id"]
    revoked = admin.delete(f"/admin/keys/{key}").json()["revoked"]
    assert admin.delete(f"/admin/keys/{key}").json()["revoked"] == revoked
    refused(admin.patch(f"/admin/keys/{key}", json={"budget": 5}), 400)
    refused(admin.post(f"/admin/keys/{key}/rotate"), 400)


@pytest.mark.parametrize("path", ["/admin/keys/none", "/admin/teams/none"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_who_is_not_registered_is_a_404(admin: httpx.Client, path: str, method: str) -> None:
    body = {} if method == "PATCH" else None
    assert refused(admin.request(method, path, json=body), 404)["code"] == "not_registered"


def test_lists_come_in_pages_that_leave_nobody_out(admin: httpx.Client) -> None:
    for number in range(5):
        made(admin, name=f"key {number}")
    names, after = [], None
    while True:
        page = admin.get("/admin/keys", params={"limit": 2, **({"after": after} if after else {})})
        found = page.json()
        names += [each["name"] for each in found["data"]]
        assert len(found["data"]) <= 2
        after = found["last_id"]
        if not found["has_more"]:
            break
    assert names == [*(f"key {number}" for number in reversed(range(5))), "first"]
    refused(admin.get("/admin/keys", params={"limit": 0}), 400, "limit")


def test_the_keys_of_one_team_can_be_listed(admin: httpx.Client) -> None:
    made(admin, "/admin/teams", name="red")
    made(admin, name="in", team="red")
    found = admin.get("/admin/keys", params={"team": "red"}).json()["data"]
    assert [each["name"] for each in found] == ["in"]
    refused(admin.get("/admin/keys", params={"team": "blue"}), 404)


def test_a_team_that_ends_takes_its_keys_with_it(admin: httpx.Client) -> None:
    team = made(admin, "/admin/teams", name="red", models=["plain"], concurrent=4)
    secret = made(admin, name="in", team="red")["key"]
    assert admin.get("/admin/teams/red").json() == team
    changed = admin.patch("/admin/teams/red", json={"concurrent": 1}).json()
    assert changed == {**team, "concurrent": 1}
    with bearing(str(admin.base_url), secret) as client:
        assert client.get("/v1/models").status_code == 200
        assert admin.delete("/admin/teams/red").json()["deleted"] is True
        assert client.get("/v1/models").status_code == 401
    assert admin.get("/admin/teams").json()["data"] == []


def test_spend_adds_up_by_key_team_graph_and_model_and_in_a_table(admin: httpx.Client) -> None:
    made(admin, "/admin/teams", name="red")
    for name in ("a", "=b"):
        with bearing(str(admin.base_url), made(admin, name=name, team="red")["key"]) as client:
            assert client.post("/v1/chat/completions", json=BODY).status_code == 200
            panel = {**BODY, "model": "panel"}
            assert client.post("/v1/chat/completions", json=panel).status_code == 200
    reports = {by: spend(admin, by=by) for by in ("key", "team", "graph", "model")}
    for by, report in reports.items():
        assert report["by"] == by
        assert report["total"]["calls"] == 8, by
        assert sum(line["calls"] for line in report["data"]) == 8
    assert {line["name"] for line in reports["key"]["data"]} == {"a", "=b"}
    assert {line["name"] for line in reports["team"]["data"]} == {"red"}
    assert {line["name"] for line in reports["graph"]["data"]} == {"plain", "panel"}
    table = admin.get("/admin/spend", params={"format": "csv"})
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert sum(int(row["calls"]) for row in rows) == 8
    assert {row["name"] for row in rows} == {"a", "'=b"}


def spend(admin: httpx.Client, **params: str) -> Any:
    """The report, once all requests before it are booked."""
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while datetime.now(UTC) < deadline:
        report = admin.get("/admin/spend", params=params).json()
        if report["total"]["calls"] == 8:
            return report
    raise TimeoutError(report)


def test_days_in_the_wrong_order_are_refused(admin: httpx.Client) -> None:
    days = {"from": "2026-02-02", "to": "2026-02-01"}
    refused(admin.get("/admin/spend", params=days), 400, "from")
    refused(admin.get("/admin/spend", params={"from": "soon"}), 400, "from")
    refused(admin.get("/admin/spend", params={"to": "0"}), 400, "to")
    refused(admin.get("/admin/spend", params={"by": "mood"}), 400, "by")


def test_a_key_sees_its_own_spend_and_limits_and_its_teams_with_the_right(
    admin: httpx.Client,
) -> None:
    made(admin, "/admin/teams", name="red", budget=5)
    member = made(admin, name="member", team="red", budget=2, budget_window="day")
    lead = made(admin, name="lead", team="red", rights=["call", "read_team"])
    with bearing(str(admin.base_url), member["key"]) as client:
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200
        own = usage(client)
        assert (own["of"], own["id"], own["name"]) == ("key", member["id"], "member")
        assert own["limits"]["budget"] == 2
        assert own["budget"]["left"] == 2 - own["budget"]["spent"] - own["budget"]["reserved"]
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        assert datetime.fromisoformat(own["budget"]["resets"]).date() == tomorrow
        refused(client.get("/v1/usage", params={"team": True}), 403, "team")
    with bearing(str(admin.base_url), lead["key"]) as client:
        assert client.get("/v1/usage").json()["total"]["calls"] == 0
        whole = client.get("/v1/usage", params={"team": True}).json()
    assert (whole["of"], whole["name"], whole["total"]["calls"]) == ("team", "red", 1)
    assert whole["budget"]["resets"] is None


def usage(client: httpx.Client) -> Any:
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while datetime.now(UTC) < deadline:
        told = client.get("/v1/usage").json()
        if told["total"]["calls"]:
            return told
    raise TimeoutError(told)


def test_all_of_it_is_in_the_published_schema(admin: httpx.Client) -> None:
    document = admin.get("/openapi.json").json()
    for path in ("/admin/keys", "/admin/teams"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rpartition("/")[2]
        assert "name" in document["components"]["schemas"][name]["required"]
    assert "text/csv" in document["paths"]["/admin/spend"]["get"]["responses"]["200"]["content"]


def test_without_a_database_there_is_nothing_to_administer(
    gateway_with: Callable[..., AbstractContextManager[Gateway]],
) -> None:
    with (
        gateway_with(api_keys=("moa-static",)) as gateway,
        bearing(gateway.url, "moa-static") as client,
    ):
        assert client.get("/v1/usage").status_code == 503
        assert client.get("/admin/keys").status_code == 403
