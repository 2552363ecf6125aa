"""The one place where untyped JSON enters: names for what `orjson.loads` returns."""

from __future__ import annotations

from typing import Any, TypeAlias

# Wire objects keep fields we have never heard of; a closed type would have to drop them.
JsonObject: TypeAlias = dict[str, Any]
