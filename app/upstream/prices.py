"""What a deployment's tokens cost, and who says so: the operator, or the snapshot of genai-prices.

Only the snapshot that comes with the library is read; nothing is fetched. It is imported when the
first price is looked for: it costs about 40 ms and 6 MB, and local models need none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal
from urllib.parse import SplitResult, urlsplit

from app.protocol.usage import Usage
from app.record import FREE, Price
from app.upstream.egress import is_private_name
from app.upstream.spec_model import DeploymentSpec
from app.upstream.spec_overrides import PriceSpec
from app.upstream.spec_upstream import UpstreamSpec

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, Provider, TieredPrices

Source = Literal["config", "snapshot", "embedded", "unknown"]

_DATED = re.compile(r"-(?:latest|20\d{6}|20\d\d-\d\d-\d\d)$")
"""What vendors append to the name of a model for one release of it."""
_END = re.compile(r"\((\?:)?/\|\$\)$")
"""`(/|$)`: how some of the snapshot's patterns end, whether they name a path or not."""
_PLAIN = frozenset({"input_mtok", "output_mtok", "cache_read_mtok"})
_BESIDES = frozenset({"requests_kcount", "output_reasoning_mtok", "output_citation_mtok"})
"""Charges that no count of prompt and completion tokens covers."""


@dataclass(frozen=True, slots=True)
class TieredPrice(Price):
    """A price that rises for long prompts, as a whole; its own fields are the dearest tier's.

    So what is set aside is never too little, while `of` takes the tier of the real prompt.
    `tiers`: the prompt tokens above which a price holds, rising; the first is for above -1.
    """

    tiers: tuple[tuple[int, Price], ...] = ()

    def of(self, usage: Usage) -> Decimal:
        """USD for these tokens, at the tier their prompt is in."""
        prices = [price for above, price in self.tiers if usage.prompt > above]
        return prices[-1].of(usage) if prices else Price.of(self, usage)


@dataclass(frozen=True, slots=True)
class Priced:
    """A deployment's price, None if nobody knows it, and where it comes from."""

    price: Price | None
    source: Source


def price_of(model: DeploymentSpec, upstream: UpstreamSpec) -> Priced:
    """The configured price, else nothing for embedded models, else the snapshot's."""
    if model.price is not None:
        return Priced(_configured(model.price), "config")
    if upstream.base_url is None:
        return Priced(Price(FREE, FREE), "embedded")
    found = listed_price(upstream.base_url, model.model, context=model.context)
    return Priced(found, "unknown" if found is None else "snapshot")


def snapshot_name() -> str:
    """The snapshot by its release, `genai-prices 0.2.3`; it carries no date of its own."""
    return f"genai-prices {version('genai-prices')}"


def listed_price(
    base_url: str, model_id: str, *, context: int | None = None, today: datetime | None = None
) -> Price | None:
    """The list price of a vendor's model at its own address, None where it is not known exactly.

    Tiers that no prompt within `context` tokens reaches are left out.
    """
    url = urlsplit(base_url)
    if is_private_name(url.hostname or "") or url.port not in {None, 443}:
        return None
    for provider in _providers(url):
        found = next((each for each in provider.models if each.is_match(model_id)), None)
        if found is not None and _is_exact(found, model_id.lower()):
            return _read(_current(found, today or datetime.now(UTC)), context)
    return None


def _configured(price: PriceSpec) -> Price:
    return Price(price.input, price.output, price.cached_input)


def _providers(url: SplitResult) -> Iterator[Provider]:
    """Those whose address this is. Their patterns are open at the end, and some in the middle."""
    from genai_prices.data import providers  # noqa: PLC0415 - see the module's docstring

    origin = f"{url.scheme}://{url.hostname}"
    for provider in providers:
        has_path = "/" in _END.sub("", provider.api_pattern).replace("://", "")
        address = origin + url.path if has_path else origin
        match = re.match(provider.api_pattern, address)
        if match and _ends_well(address, match.end(), len(origin)):
            yield provider


def _ends_well(address: str, end: int, host_end: int) -> bool:
    """Whether a match covers the whole host, or all but the last label of one that is open."""
    if end >= host_end:
        return end == len(address) or address[end] == "/" or address[end - 1] == "/"
    return address[end - 1] == "." and address[end:host_end].isalpha()


def _is_exact(model: ModelInfo, model_id: str) -> bool:
    """Whether the id is the model's own, or that of a dated release: a prefix says too little."""
    names = {model.id.lower(), *(name.lower() for name in _names(model.match))}
    plain = _DATED.sub("", model_id)
    return model_id in names or plain in {_DATED.sub("", name) for name in names}


def _names(clause: MatchLogic) -> Iterator[str]:
    from genai_prices import types  # noqa: PLC0415 - see the module's docstring

    if isinstance(clause, types.ClauseEquals):
        yield clause.equals
    elif isinstance(clause, types.ClauseStartsWith):
        yield clause.starts_with
    elif isinstance(clause, types.ClauseOr | types.ClauseAnd):
        for each in clause.or_ if isinstance(clause, types.ClauseOr) else clause.and_:
            yield from _names(each)


def _current(model: ModelInfo, now: datetime) -> Sequence[ModelPrice]:
    """Today's prices: one, or those of all times of the day, of which the dearest counts."""
    from genai_prices import types  # noqa: PLC0415 - see the module's docstring

    if isinstance(model.prices, types.ModelPrice):
        return [model.prices]
    of_day = [
        each.prices
        for each in model.prices
        if isinstance(each.constraint, types.TimeOfDateConstraint)
    ]
    dated = [
        each for each in model.prices if not isinstance(each.constraint, types.TimeOfDateConstraint)
    ]
    active = [
        each.prices for each in dated if each.constraint is None or each.constraint.active(now)
    ]
    standing = active[-1:] or [each.prices for each in dated[:1]]
    return [*standing, *of_day]


def _read(prices: Sequence[ModelPrice], context: int | None) -> Price | None:
    if not prices or any(_is_more_than_tokens(price) for price in prices):
        return None
    starts = {start for price in prices for start in _starts(price)}
    reached = [start for start in sorted(starts) if context is None or start < context]
    tiers = [(above, _dearest([_at(price, above) for price in prices])) for above in (-1, *reached)]
    if len(tiers) == 1:
        return tiers[0][1]
    top = _dearest([price for _, price in tiers])
    return TieredPrice(top.input, top.output, top.cached_input, tuple(tiers))


def _is_more_than_tokens(price: ModelPrice) -> bool:
    charged = {name for name, value in vars(price).items() if value is not None}
    return "input_mtok" not in charged or bool(charged & _BESIDES)


def _starts(price: ModelPrice) -> Iterator[int]:
    for name in _PLAIN:
        value = vars(price).get(name)
        if value is not None and not isinstance(value, Decimal):
            yield from (tier.start for tier in value.tiers)


def _at(price: ModelPrice, above: int) -> Price:
    """The prices of prompts of more than `above` tokens; what is not listed costs nothing."""
    values = vars(price)
    cached = _tier(values.get("cache_read_mtok"), above)
    fresh, written = (_tier(values.get(name), above) for name in ("input_mtok", "output_mtok"))
    return Price(fresh or FREE, written or FREE, cached)


def _tier(value: Decimal | TieredPrices | None, above: int) -> Decimal | None:
    if value is None or isinstance(value, Decimal):
        return value
    return next((tier.price for tier in reversed(value.tiers) if above >= tier.start), value.base)


def _dearest(prices: Sequence[Price]) -> Price:
    cached = [price.cached_input for price in prices if price.cached_input is not None]
    return Price(
        max(price.input for price in prices),
        max(price.output for price in prices),
        max(cached) if len(cached) == len(prices) else None,
    )
