"""What an unset variable takes out of a configuration: optional upstreams and all that needs them.

Works on trees that may still be malformed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from app.config.names import section
from app.config.pools import fallbacks, placed, pools
from app.config.problems import KeyPath
from app.protocol.json_types import JsonObject

_WORDS = {"upstreams": "upstream", "models": "model", "graphs": "graph", "aliases": "alias"}
_PLURALS = {
    "deployment": "deployments",
    "model": "models",
    "graph": "graphs",
    "alias": "aliases",
    "fallback": "fallbacks",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Paths that go, each with the upstream at fault, and the variables that would help it.

    What needs several upstreams is put down to one of them.
    """

    reasons: Mapping[KeyPath, str]
    variables: Mapping[str, tuple[str, ...]]

    def sentences(self) -> tuple[str, ...]:
        """One for each upstream: why it goes, and how much goes with it."""
        return tuple(
            f"Left out {name} ({_listed(unset)} not set){self._with(name)}"
            for name, unset in self.variables.items()
        )

    def _with(self, upstream: str) -> str:
        lost = Counter(_word(path) for path, name in self.reasons.items() if name == upstream)
        del lost["upstream"]
        counts = [
            f"{count} {word if count == 1 else _PLURALS[word]}" for word, count in lost.items()
        ]
        *most, last = counts or [""]
        return f", with {', '.join(most)}{' and ' if most else ''}{last}" if last else ""

    def covers(self, path: KeyPath) -> bool:
        """Whether a path goes, itself or with something around it."""
        return any(path[:length] in self.reasons for length in range(1, len(path) + 1))

    def prune(self, tree: JsonObject) -> JsonObject:
        """The tree without what goes; the given one stays as it is."""
        return {key: self._prune(value, (key,)) for key, value in tree.items()}

    def _prune(self, value: object, path: KeyPath) -> object:
        if isinstance(value, dict):
            items = ((name, item, (*path, name)) for name, item in value.items())
            return {
                name: self._prune(item, below)
                for name, item, below in items
                if below not in self.reasons
            }
        if isinstance(value, list):
            numbered = ((item, (*path, at)) for at, item in enumerate(value))
            return [self._prune(item, at) for item, at in numbered if at not in self.reasons]
        return value


def find_left_out(tree: JsonObject, unset: Mapping[KeyPath, tuple[str, ...]]) -> LeftOut:
    """What goes because of the variables in `unset`, given by the path that names them."""
    variables = _optional_upstreams(tree, unset)
    reasons: dict[KeyPath, str] = {("upstreams", name): name for name in variables}
    for name, model in pools(tree):
        reasons.update(_deployments(name, model, variables))
    _spread(tree, reasons)
    reasons |= _fallbacks(tree, reasons)
    return LeftOut(reasons, variables)


def _optional_upstreams(
    tree: JsonObject, unset: Mapping[KeyPath, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    gone: dict[str, tuple[str, ...]] = {}
    for path, names in unset.items():
        if path[0] != "upstreams" or len(path) < 2:  # noqa: PLR2004 — section and name
            continue
        upstream = section(tree, "upstreams").get(str(path[1]))
        if isinstance(upstream, dict) and upstream.get("optional") is True:
            known = gone.get(str(path[1]), ())
            gone[str(path[1])] = tuple(dict.fromkeys((*known, *names)))
    return gone


def _deployments(
    name: str, model: JsonObject, gone: Collection[str]
) -> Iterator[tuple[KeyPath, str]]:
    """A pool's deployments that go, or the pool, if none is left."""
    where = list(placed(name, model))
    lost = [(path[:-1], upstream) for path, upstream in where if upstream in gone]
    if lost and len(lost) == len(where):
        yield ("models", name), lost[0][1]
    else:
        yield from lost


def _spread(tree: JsonObject, reasons: dict[KeyPath, str]) -> None:
    """Take out graphs and aliases that need something that went, until nothing changes."""
    needs: list[tuple[KeyPath, list[str]]] = [
        (("graphs", name), required(graph)) for name, graph in section(tree, "graphs").items()
    ]
    needs += [
        (("aliases", name), _listed_texts([target]))
        for name, target in section(tree, "aliases").items()
    ]
    changed = True
    while changed:
        changed = False
        gone = _gone_names(reasons)
        for path, names in needs:
            lost = next((name for name in names if name in gone), None)
            if path not in reasons and lost is not None:
                reasons[path] = gone[lost]
                changed = True


def _gone_names(reasons: Mapping[KeyPath, str]) -> dict[str, str]:
    """The upstream at fault by the name of what it took with it."""
    served = ("models", "graphs", "aliases")
    return {
        str(path[1]): upstream
        for path, upstream in reasons.items()
        if path[0] in served and not path[2:]
    }


def _fallbacks(tree: JsonObject, reasons: Mapping[KeyPath, str]) -> dict[KeyPath, str]:
    gone = _gone_names(reasons)
    lost: dict[KeyPath, str] = {}
    for name, model in pools(tree):
        if name not in gone:
            falls = fallbacks(name, model)
            lost |= {path: gone[other] for path, other in falls if other in gone}
    for name, graph in section(tree, "graphs").items():
        if ("graphs", name) in reasons:
            continue
        for path, node in nodes(graph, ("graphs", name)):
            for at, other in enumerate(_listed_texts(node.get("fallback"))):
                if other in gone:
                    lost[*path, "fallback", at] = gone[other]
    return lost


def required(graph: object) -> list[str]:
    """The models a graph cannot do without: all that it names, except fallbacks."""
    if not isinstance(graph, dict):
        return []
    names = [graph.get("aggregator")]
    for layer in _dicts(graph.get("layers")):
        names += _listed_texts(layer.get("proposers"))
        names += [section(layer, gate).get("model") for gate in ("filter", "stop")]
    for _, node in nodes(graph, ()):
        judge = section(node, "ask")
        names += [node.get("model"), node.get("otherwise"), judge.get("model")]
        names += [
            *section(judge, "choices"),
            *(rule.get("to") for rule in _dicts(node.get("rules"))),
        ]
    return [name for name in names if isinstance(name, str)]


def nodes(graph: object, path: KeyPath) -> Iterator[tuple[KeyPath, JsonObject]]:
    """The nodes a graph writes out in the long form, its output last, each with its path."""
    if not isinstance(graph, dict):
        return
    layers = graph.get("layers")
    for at, layer in enumerate(layers if isinstance(layers, list) else ()):
        if not isinstance(layer, dict):
            continue
        for name, node in section(layer, "nodes").items():
            if isinstance(node, dict):
                yield (*path, "layers", at, "nodes", name), node
    if output := section(graph, "output"):
        yield (*path, "output"), output


def _dicts(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _listed_texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _listed(names: tuple[str, ...]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _word(path: KeyPath) -> str:
    """What a path that goes is to the operator."""
    if path[0] == "models" and path[2:3] == ("deployments",):
        return "deployment"
    return "fallback" if "fallback" in path[2:] else _WORDS[str(path[0])]
