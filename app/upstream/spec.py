"""How upstreams and models are written in the configuration, and how the two join."""

from __future__ import annotations

from app.upstream.spec_model import DeploymentSpec, ModelSpec
from app.upstream.spec_overrides import Overrides, PriceSpec, TimeoutOverrides
from app.upstream.spec_upstream import Timeouts, UpstreamSpec

__all__ = [
    "DeploymentSpec",
    "ModelSpec",
    "Overrides",
    "PriceSpec",
    "TimeoutOverrides",
    "Timeouts",
    "UpstreamSpec",
]
