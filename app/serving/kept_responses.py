"""Responses that were stored, with the input they answer: for their caller alone, for a while.

A response holds its own turn only and names the one before it, so that a long conversation is not
kept once for every turn. Whoever deletes a turn ends what goes on from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from app.errors import InvalidRequest, MoaError, ResponseNotFound
from app.interfaces import Cache
from app.protocol.json_types import JsonObject

KEPT_FOR = 30 * 24 * 3600.0
"""Seconds; OpenAI promises 30 days. A store in memory forgets all at a restart."""
MAX_TURNS = 1_000
_VERSION = "response:1"
_RUN_ID = re.compile(r"[a-z]+_([0-9a-f]{24})(?:_\w+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """One turn: the input items as they are listed, and the response object."""

    response: JsonObject
    items: list[JsonObject]

    @property
    def conversation(self) -> list[JsonObject]:
        """Input and output."""
        return [*self.items, *self.response["output"]]


class KeptResponses:
    """What is stored, by caller ("" in open mode) and id."""

    def __init__(self, store: Cache) -> None:
        self._store = store

    async def keep(self, caller: str, response: JsonObject, items: Sequence[JsonObject]) -> None:
        """Keep a turn."""
        value = orjson.dumps({"response": response, "items": items})
        await self._store.set(_place(caller, response["id"]), value, KEPT_FOR)

    async def find(self, caller: str, response_id: str) -> KeptResponse:
        """One turn. Raises ResponseNotFound."""
        found = await self._get(caller, response_id)
        if found is None:
            raise ResponseNotFound(f"There is no response '{response_id[:100]}', or no more")
        return found

    async def forget(self, caller: str, response_id: str) -> None:
        """Delete a turn. Raises ResponseNotFound."""
        await self.find(caller, response_id)
        await self._store.set(_place(caller, response_id), b"", 0)

    async def earlier(self, caller: str, previous: str | None) -> list[JsonObject]:
        """The items of a conversation up to a response, oldest first, input and output.

        Raises InvalidRequest if a turn is missing or there are too many.
        """
        turns: list[list[JsonObject]] = []
        while previous:
            turn = await self._get(caller, previous)
            if turn is None or len(turns) == MAX_TURNS:
                raise _lost(previous, too_many=turn is not None)
            turns.append(turn.conversation)
            previous = turn.response["previous_response_id"]
        return [item for turn in reversed(turns) for item in turn]

    async def resolved(self, caller: str, items: Sequence[JsonObject]) -> list[JsonObject]:
        """Items with what is only referred to in its place.

        Raises InvalidRequest if it is lost, and if it is referred to twice, as OpenAI does: a few
        bytes would else stand for any number of copies of a large item.
        """
        turns: dict[str, dict[object, JsonObject]] = {}
        referred: set[str] = set()
        found: list[JsonObject] = []
        for number, item in enumerate(items):
            if item["type"] != "item_reference":
                found.append(item)
                continue
            item_id, param = item["id"], f"input[{number}].id"
            match = _RUN_ID.fullmatch(item_id)
            if match is None:
                raise _no_item(item_id, param)
            if item_id in referred:
                raise InvalidRequest(f"The item '{item_id}' is referred to twice", param=param)
            referred.add(item_id)
            if match[1] not in turns:
                turns[match[1]] = await self._by_id(caller, f"resp_{match[1]}")
            if item_id not in turns[match[1]]:
                raise _no_item(item_id, param)
            found.append(turns[match[1]][item_id])
        return found

    async def _by_id(self, caller: str, response_id: str) -> dict[object, JsonObject]:
        """The items of a turn, none if it is not stored; of two with one id the first."""
        turn = await self._get(caller, response_id)
        items = turn.conversation if turn else []
        ids = ((item.get("id"), item) for item in reversed(items))
        return {item_id: item for item_id, item in ids if isinstance(item_id, str)}

    async def _get(self, caller: str, response_id: str) -> KeptResponse | None:
        if not _RUN_ID.fullmatch(response_id):
            return None
        value = await self._store.get(_place(caller, response_id))
        return KeptResponse(**orjson.loads(value)) if value else None


def _place(caller: str, response_id: str) -> str:
    return f"{_VERSION}:{caller}:{response_id}"


def _no_item(item_id: str, param: str) -> MoaError:
    return InvalidRequest(f"There is no stored item '{item_id[:100]}'", param=param)


def _lost(previous: str, *, too_many: bool) -> MoaError:
    if too_many:
        message = f"The conversation has more than {MAX_TURNS} turns"
        return InvalidRequest(message, param="previous_response_id")
    return InvalidRequest(
        f"There is no response '{previous[:100]}', or no more",
        param="previous_response_id",
        code="previous_response_not_found",
    )
