"""From specs to graphs that can run, with every check that spans more than one field.

All that is wrong with a graph is a `ConfigError` whose path leads to the field at fault and whose
message names what is accepted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count
from types import MappingProxyType

from app.engine.graph import OUTPUT, Graph, Layer, Node, Policy
from app.engine.measure import depth, worst_case_calls
from app.engine.nodes import NodeSpec
from app.engine.nodes.aggregate import OutputAggregateSpec
from app.engine.nodes.propose import ProposeSpec
from app.engine.nodes.spec import AskingNodeSpec, BaseNodeSpec, InnerNodeSpec
from app.engine.run import GraphModel
from app.engine.spec import GraphSpec, LayerSpec, LimitsSpec
from app.errors import ConfigError
from app.interfaces import ChatModel


def compile_graphs(
    specs: Mapping[str, GraphSpec],
    pools: Mapping[str, ChatModel],
    limits: LimitsSpec | None = None,
) -> dict[str, GraphModel]:
    """All graphs, in the order of `specs`; a graph may be a node's model in another.

    Raises `ConfigError` with a path such as `graphs.deep.layers[1].nodes.best.inputs[0]`.
    """
    limits = limits or LimitsSpec()
    models: dict[str, ChatModel] = dict(pools)
    done: dict[str, GraphModel] = {}
    for name in _inner_first(specs):
        done[name] = GraphModel(_Compiler(name, specs[name], models).graph())
        _check_limits(done[name].graph, limits)
        models[name] = done[name]
    return {name: done[name] for name in specs}


def layer_nodes(layer: LayerSpec, taken: Collection[str] = ()) -> dict[str, NodeSpec]:
    """The nodes of a layer by name, whichever form it is written in.

    In the short form a node is named after its model; a model named again, here or in an earlier
    layer (`taken`), becomes `model#2`, `model#3` …
    """
    if layer.nodes is not None:
        return dict(layer.nodes)
    nodes: dict[str, NodeSpec] = {}
    for model in layer.proposers or ():
        names = (f"{model}#{number}" if number > 1 else model for number in count(1))
        name = next(name for name in names if name not in nodes and name not in taken)
        nodes[name] = ProposeSpec(model=model)
    return nodes


def output_spec(spec: GraphSpec) -> BaseNodeSpec:
    """The output node, whichever form it is written in."""
    if spec.output is not None:
        return spec.output
    return OutputAggregateSpec(model=spec.aggregator or "")


def _inner_first(specs: Mapping[str, GraphSpec]) -> list[str]:
    """Graph names so that each comes after the graphs it uses; a cycle is refused."""
    order: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name in path:
            cycle = " → ".join([*path[path.index(name) :], name])
            raise ConfigError(f"graphs use each other in a circle: {cycle}", path=f"graphs.{name}")
        path.append(name)
        for used in _models_of(specs[name]):
            if used in specs:
                visit(used)
        path.pop()
        order.append(name)

    for name in specs:
        visit(name)
    return order


def _models_of(spec: GraphSpec) -> list[str]:
    nodes = [node for layer in spec.layers for node in layer_nodes(layer).values()]
    every = [*nodes, output_spec(spec)]
    return [name for node in every for name in (node.models_asked() | node.targets()).values()]


def _check_limits(graph: Graph, limits: LimitsSpec) -> None:
    path = f"graphs.{graph.name}"
    if (nested := depth(graph)) > limits.max_depth:
        raise ConfigError(
            f"graphs nest {nested} deep here; limits.max_depth is {limits.max_depth}", path=path
        )
    if (calls := worst_case_calls(graph)) > limits.max_calls:
        raise ConfigError(
            f"one request may come to {calls} upstream calls; limits.max_calls is "
            f"{limits.max_calls}",
            path=path,
        )


class _Compiler:
    """Compiles one graph; keeps the names of the nodes seen so far, layer by layer."""

    def __init__(self, name: str, spec: GraphSpec, models: Mapping[str, ChatModel]) -> None:
        self._name, self._spec, self._models = name, spec, models
        self._path = f"graphs.{name}"
        self._earlier: dict[str, int] = {}

    def graph(self) -> Graph:
        spec = self._spec
        layers = tuple(self._layer(index, layer) for index, layer in enumerate(spec.layers))
        path = f"{self._path}.{'output' if spec.output else 'aggregator'}"
        last = tuple(node.name for node in layers[-1].nodes)
        output = self._node(OUTPUT, output_spec(spec), path, last)
        self._refuse_unreachable(layers, output)
        return Graph(
            name=self._name,
            layers=layers,
            output=output,
            deadline=spec.deadline,
            policy=Policy(**{name: getattr(spec, name) for name in Policy.__slots__}),
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
        return Layer(tuple(nodes), spec.quorum or size, spec.grace, spec.deadline)

    def _refuse_name(self, name: str, path: str) -> None:
        if name == OUTPUT:
            raise ConfigError(f"'{OUTPUT}' is the name of the output node", path=path)
        if name in self._earlier:
            raise ConfigError(f"a second node named '{name}'; names are unique", path=path)

    def _node(self, name: str, spec: BaseNodeSpec, path: str, before: tuple[str, ...]) -> Node:
        inner = spec if isinstance(spec, InnerNodeSpec) else None
        asking = spec if isinstance(spec, AskingNodeSpec) else None
        return Node(
            name=name,
            word=spec.kind,
            kind=spec.behaviour(),
            models=self._models_named(spec.models_asked(), path),
            targets=self._models_named(spec.targets(), path),
            inputs=before if spec.inputs is None else self._inputs(spec.inputs, path),
            params=MappingProxyType(asking.sampling() if asking else {}),
            system=asking.system if asking else None,
            instruction=asking.instruction if asking else None,
            samples=inner.samples if inner else 1,
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
        known = ", ".join(sorted(self._models)) or "none"
        raise ConfigError(f"no model or graph is named '{name}'; there are: {known}", path=path)

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
