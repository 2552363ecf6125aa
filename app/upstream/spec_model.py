"""How a model is written: as one deployment, or as a pool of several that serve the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from app.fields import Spec
from app.upstream.spec_fields import ApiKey
from app.upstream.spec_guards import Hedge, HedgeSpec, Retries, Seconds, hedge_of, setting_over
from app.upstream.spec_overrides import Overrides
from app.upstream.spec_upstream import UpstreamSpec


class _Place(Spec):
    upstream: Annotated[str, Field(min_length=1)] = Field(
        description="The upstream that serves it."
    )
    model: Annotated[str, Field(min_length=1)] = Field(
        description="The upstream's own id of the model."
    )
    weight: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Its share of the calls, compared with the others of its pool."
    )
    api_key: ApiKey | None = Field(
        default=None, description="The key for this one, by default the upstream's."
    )


class DeploymentSpec(Overrides, _Place):
    """One deployment of a pool: one model of one upstream.

    Every other field is laid over the pool's own as that is over the upstream's: objects field by
    field, `drop` adds to it.
    """

    def over(self, upstream: UpstreamSpec) -> UpstreamSpec:
        """The upstream's settings with this deployment's laid over them, its key among them."""
        settings = super().over(upstream)
        if self.api_key is None:
            return settings
        return settings.model_copy(update={"api_key": self.api_key})


class _Pool(Spec):
    upstream: Annotated[str | None, Field(min_length=1)] = Field(
        default=None, description="Short form: the upstream that serves it."
    )
    model: Annotated[str | None, Field(min_length=1)] = Field(
        default=None, description="Short form: the upstream's own id of the model."
    )
    deployments: Annotated[tuple[DeploymentSpec, ...], Field(min_length=1)] | None = Field(
        default=None, description="Long form: the deployments that share its calls."
    )
    retries: Retries | None = Field(
        default=None,
        description="Further tries of a call that failed before its first token, other "
        "deployments first; by default as the upstream, the first deployment's.",
    )
    hedge: Hedge | None = Field(
        default=None,
        description="When a second deployment is asked the same because the first is slow; by "
        "default as the upstream, the first deployment's.",
    )
    fallback: tuple[str, ...] = Field(
        default=(),
        description="Models that are asked in turn when all tries failed before a first token.",
    )
    deadline: Seconds | None = Field(
        default=None, description="The longest a call may take in all, its retries included."
    )
    sticky: bool = Field(
        default=True,
        description="Calls with the same `prompt_cache_key` go to the same deployment, which has "
        "their beginning cached.",
    )
    strength: float | None = Field(
        default=None,
        description="How good it is, on a scale of your own such as an arena's scores; only "
        "`moa check` reads it, and warns of an aggregator below its proposers.",
    )

    @field_validator("deployments")
    @classmethod
    def _differ(
        cls, deployments: tuple[DeploymentSpec, ...] | None
    ) -> tuple[DeploymentSpec, ...] | None:
        plain = [each.model_copy(update={"weight": 1.0}) for each in deployments or ()]
        for at, each in enumerate(plain):
            if each in plain[:at]:
                first = plain.index(each)
                raise ValueError(f"[{at}] is the same as [{first}]; give [{first}] more weight")
        return deployments


# Within `allOf`, as it is a rule besides the fields, not a choice of what stands there.
_FORMS: JsonDict = {
    "allOf": [{"oneOf": [{"required": ["upstream", "model"]}, {"required": ["deployments"]}]}]
}


class ModelSpec(Overrides, _Pool):
    """A pool under the name clients and graphs use: one deployment or several that do the same.

    The short form, `upstream` and `model`, is one deployment. `context` and `max_output` are in
    tokens; without `context` nothing is ever trimmed for this model. The fields that an upstream
    has too are laid over it: objects field by field, `drop` adds to it.
    """

    model_config = ConfigDict(json_schema_extra=_FORMS)

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        is_short = self.upstream is not None and self.model is not None
        is_mixed = (self.upstream or self.model) and self.deployments
        if is_mixed or not (is_short or self.deployments):
            raise ValueError("expected either both of `upstream` and `model`, or `deployments`")
        return self

    def entries(self) -> tuple[DeploymentSpec, ...]:
        """The pool's deployments, one at least, each with the model's settings laid under it."""
        if self.deployments is not None:
            return tuple(each.within(self) for each in self.deployments)
        only = {"upstream": self.upstream, "model": self.model}
        return (DeploymentSpec.model_validate(only).within(self),)

    def retries_over(self, upstreams: Mapping[str, UpstreamSpec]) -> int:
        """Further tries of a call, 0 or more; `upstreams` are all there are, by name."""
        if self.retries is not None:
            return self.retries
        return upstreams[self.entries()[0].upstream].retries

    def hedge_over(self, upstreams: Mapping[str, UpstreamSpec]) -> HedgeSpec | None:
        """When a second deployment is asked; None: never, as where there is no second."""
        entries = self.entries()
        if len(entries) == 1:
            return None
        inherited = upstreams[entries[0].upstream].hedge
        return hedge_of(setting_over(hedge_of, self.hedge, inherited) or "off")
