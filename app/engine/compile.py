"""From specs to graphs that can run, with every check that spans more than one field.

All that is wrong with a graph is a `ConfigError` whose path leads to the field at fault and whose
message names what is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType

from app.engine.checks import refuse_odd_layers
from app.engine.forms import inner_first, layer_nodes, output_spec
from app.engine.gates import Place, gate_node
from app.engine.graph import OUTPUT, Graph, Layer, Node, Policy
from app.engine.graph_model import GraphModel
from app.engine.limits import check_limits
from app.engine.nodes.spec import AskingNodeSpec, BaseNodeSpec, InnerNodeSpec, LayerNodeSpec
from app.engine.parts import NO_PARTS, Furnisher, Parts
from app.engine.spec import GraphSpec, LayerSpec, LimitsSpec
from app.engine.tool_policy import refuse_policy
from app.errors import ConfigError
from app.interfaces import ChatModel
from app.record import Caps


def compile_graphs(
    specs: Mapping[str, GraphSpec],
    pools: Mapping[str, ChatModel],
    limits: LimitsSpec | None = None,
    parts: Parts = NO_PARTS,
) -> dict[str, GraphModel]:
    """All graphs, in the order of `specs`; a graph may be a node's model in another.

    Raises `ConfigError` with a path such as `graphs.deep.layers[1].nodes.best.inputs[0]`.
    """
    limits = limits or LimitsSpec()
    models: dict[str, ChatModel] = dict(pools)
    furnisher = Furnisher(parts)
    done: dict[str, GraphModel] = {}
    for name in inner_first(specs):
        graph = _Compiler(name, specs[name], models).graph()
        refuse_policy(graph, f"graphs.{name}.tools")
        check_limits(graph, limits)
        done[name] = GraphModel(furnisher.furnished(graph, specs[name]))
        models[name] = done[name]
    return {name: done[name] for name in specs}


def _refuse_strangers(named: Mapping[str, str], inputs: Sequence[str], path: str) -> None:
    for field, name in named.items():
        if name not in inputs:
            accepted = ", ".join(inputs) or "none, it has no inputs"
            raise ConfigError(
                f"found '{name}', expected one of its inputs: {accepted}", path=f"{path}.{field}"
            )


class _Compiler:
    """Compiles one graph; keeps the names of the nodes seen so far, layer by layer."""

    def __init__(self, name: str, spec: GraphSpec, models: Mapping[str, ChatModel]) -> None:
        self._name, self._spec, self._models = name, spec, models
        self._path = f"graphs.{name}"
        self._earlier: dict[str, int] = {}

    def graph(self) -> Graph:
        spec = self._spec
        refuse_odd_layers(spec, output_spec(spec), f"{self._path}.layers")
        layers = tuple(self._layer(index, layer) for index, layer in enumerate(spec.layers))
        path = f"{self._path}.{'output' if spec.output else 'aggregator'}"
        last = tuple(node.name for layer in layers[-1:] for node in layer.nodes)
        output = self._node(OUTPUT, output_spec(spec), path, last)
        self._refuse_unreachable(layers, output)
        return Graph(
            name=self._name,
            layers=layers,
            output=output,
            deadline=spec.deadline,
            policy=Policy(**{name: getattr(spec, name) for name in Policy.__slots__}),
            caps=Caps(spec.caps.max_calls, spec.caps.max_cost),
            on_cap=spec.caps.on_cap,
            usage=spec.usage,
            progress=spec.progress == "reasoning",
            instruction=spec.instruction,
            description=spec.description,
        )

    def _layer(self, index: int, spec: LayerSpec) -> Layer:
        path = f"{self._path}.layers[{index}]"
        before = tuple(name for name, layer in self._earlier.items() if layer == index - 1)
        nodes = []
        for name, node in layer_nodes(spec, self._earlier).items():
            where = f"{path}.nodes.{name}" if spec.nodes else f"{path}.proposers"
            self._refuse_name(name, where)
            nodes.append(self._node(name, node, where, before))
        self._earlier.update({node.name: index for node in nodes})
        size = sum(node.samples for node in nodes)
        if spec.quorum is not None and spec.quorum > size:
            raise ConfigError(
                f"found {spec.quorum}, but the layer gives {size} answers at most",
                path=f"{path}.quorum",
            )
        layer = Layer(tuple(nodes), spec.quorum or size, spec.grace, spec.deadline)
        gates: dict[str, Node] = {}
        for field, gate in spec.gates().items():
            models = self._models_named(gate.models_asked(), f"{path}.{field}")
            at = Place(index + 1, field, f"{path}.{field}")
            gates[field] = gate_node(at, gate, layer, models)
        return replace(layer, filter=gates.get("filter"), stop=gates.get("stop"))

    def _refuse_name(self, name: str, path: str) -> None:
        if name == OUTPUT:
            raise ConfigError(f"'{OUTPUT}' is the name of the output node", path=path)
        if name in self._earlier:
            raise ConfigError(f"a second node named '{name}'; names are unique", path=path)

    def _node(self, name: str, spec: BaseNodeSpec, path: str, before: tuple[str, ...]) -> Node:
        sampled = spec if isinstance(spec, InnerNodeSpec) else None
        inner = spec if isinstance(spec, LayerNodeSpec) else None
        asking = spec if isinstance(spec, AskingNodeSpec) else None
        inputs = before if spec.inputs is None else self._inputs(spec.inputs, path)
        _refuse_strangers(spec.singled_out(), inputs, path)
        return Node(
            name=name,
            word=spec.kind,
            kind=spec.behaviour(),
            models=self._models_named(spec.models_asked(), path),
            targets=self._models_named(spec.targets(), path),
            inputs=inputs,
            params=MappingProxyType(asking.sampling() if asking else {}),
            system=asking.system if asking else None,
            instruction=asking.instruction if asking else None,
            samples=sampled.samples if sampled else 1,
            required=inner.required if inner else False,
        )

    def _models_named(self, names: Mapping[str, str], path: str) -> tuple[ChatModel, ...]:
        is_short = path.endswith((".proposers", ".aggregator"))
        return tuple(
            self._model(name, path if is_short else f"{path}.{field}")
            for field, name in names.items()
        )

    def _model(self, name: str, path: str) -> ChatModel:
        if name in self._models:
            return self._models[name]
        close = get_close_matches(name, self._models, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        known = ", ".join(sorted(self._models)) or "none"
        message = f"no model or graph is named '{name}'; {hint}there are: {known}"
        raise ConfigError(message, path=path)

    def _inputs(self, names: tuple[str, ...], path: str) -> tuple[str, ...]:
        for index, name in enumerate(names):
            if name not in self._earlier:
                accepted = ", ".join(self._earlier) or "none, this is the first layer"
                raise ConfigError(
                    f"found '{name}', expected a node of an earlier layer: {accepted}",
                    path=f"{path}.inputs[{index}]",
                )
        if len(set(names)) < len(names):
            raise ConfigError("names a node twice", path=f"{path}.inputs")
        return names

    def _refuse_unreachable(self, layers: Sequence[Layer], output: Node) -> None:
        nodes = [node for layer in layers for node in layer.nodes]
        used = {name for node in (*nodes, output) for name in node.inputs}
        for index, layer in enumerate(layers):
            for node in layer.nodes:
                if node.name not in used:
                    raise ConfigError(
                        "nothing reads what this node writes; name it in the `inputs` of a later "
                        "node or take it out",
                        path=f"{self._path}.layers[{index}].nodes.{node.name}",
                    )
