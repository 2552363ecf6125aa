"""What must hold between the layers and the output of a graph. Called by `compile`."""

from __future__ import annotations

from app.engine.nodes.spec import BaseNodeSpec
from app.engine.spec import GraphSpec
from app.errors import ConfigError


def refuse_odd_layers(spec: GraphSpec, output: BaseNodeSpec, path: str) -> None:
    """Raises ConfigError for layers where there may be none, and for none where some are needed."""
    if output.needs_layers() and not spec.layers:
        raise ConfigError(f"expected one layer at least for `{output.kind}` to work on", path=path)
    if spec.layers and not output.needs_layers():
        raise ConfigError(
            f"expected no layers: `{output.kind}` decides before anybody is asked; make them a "
            "graph of their own and let it be one of the targets",
            path=path,
        )
    if spec.layers and spec.layers[-1].stop:
        raise ConfigError(
            "there is no layer after this one that could be skipped",
            path=f"{path}[{len(spec.layers) - 1}].stop",
        )
