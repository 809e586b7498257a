"""What a template of deploy/ would make, told without Azure: Bicep as far as ours goes.

No compiler is at hand. Every expression is evaluated, each name must be declared, each module
gets exactly the parameters that it declares, and what is allowed for them holds. Not told are
types of resources and their properties: Azure alone knows those.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import tree_sitter
import tree_sitter_bicep
from tree_sitter import Node

SUBSCRIPTION = "/subscriptions/11111111-2222-4333-8444-555555555555"
TENANT = "99999999-8888-4777-8666-555555555555"
GROUP = "rg"
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


class PlanError(Exception):
    """The template would be refused, or says what can't be told here."""


@dataclass(slots=True, kw_only=True, eq=False)
class Resource:
    """One resource, made or expected to exist; `body` is what the template says of it."""

    type: str
    api: str
    id: str
    name: str
    existing: bool
    body: dict[str, Any]
    template: str

    @property
    def properties(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body.get("properties", {})
        return found

    @property
    def scope(self) -> str:
        """Of a role assignment: the id of what it is for."""
        scope: Resource = self.body["scope"]
        return scope.id


@dataclass(slots=True, kw_only=True)
class Plan:
    """All resources of a template and its modules, and the outputs of the first."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, type_: str) -> list[Resource]:
        return [each for each in self.resources if each.type == type_]

    def one(self, type_: str, name: str) -> Resource:
        (found,) = (each for each in self.of_type(type_) if each.name == name)
        return found


@cache
def parse(path: Path) -> Node:
    """Raises PlanError if there is anything that is not Bicep."""
    root = _PARSER.parse(path.read_bytes()).root_node
    wrong = [node for node in walk(root) if node.is_error or node.is_missing]
    if wrong:
        raise PlanError(f"{path.name}:{wrong[0].start_point.row + 1} is not Bicep")
    return root


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def plan(path: Path, given: dict[str, Any]) -> Plan:
    """What the template makes of these parameters. Raises PlanError."""
    made = Plan()
    template = _Template(path, given, group=GROUP, made=made)
    made.outputs = template.finish()
    return made


@dataclass(frozen=True, slots=True)
class Parameter:
    """As declared. `limits` are the decorators with their values."""

    name: str
    default: Node | None
    limits: dict[str, Any]


def parameters(path: Path) -> dict[str, Parameter]:
    """Those that a template takes."""
    found: dict[str, Parameter] = {}
    limits: dict[str, Any] = {}
    for node in parse(path).named_children:
        if node.type == "decorators":
            limits = dict(map(_limit, node.named_children))
        elif node.type == "parameter_declaration":
            name, _, *default = _parts(node)
            found[_text(name)] = Parameter(
                _text(name), default[0] if default else None, limits
            )
        if node.type != "decorators":
            limits = {}
    return found


def _limit(decorator: Node) -> tuple[str, Any]:
    call = decorator.named_children[0]
    name, arguments = call.named_children
    values = [_Constant().value(each) for each in arguments.named_children]
    return _text(name), values[0] if values else None


def _parts(node: Node) -> list[Node]:
    return [each for each in node.named_children if each.type != "comment"]


def _text(node: Node) -> str:
    return (node.text or b"").decode()


class _Constant:
    """Evaluates what needs no names; below it, what does."""

    def value(self, node: Node, names: dict[str, Any] | None = None) -> Any:
        kind = getattr(self, f"_{node.type}", None)
        if kind is None:
            raise PlanError(f"what is {node.type}: {_text(node)[:60]}")
        return kind(node, names or {})

    def _string(self, node: Node, names: dict[str, Any]) -> str:
        told = ""
        for part in node.named_children:
            if part.type == "string_content":
                told += _text(part)
            elif part.type == "escape_sequence":
                told += _text(part)[1:]
            else:
                value = self.value(part.named_children[0], names)
                if not isinstance(value, str | int):
                    raise PlanError(f"no text: {_text(part)}")
                told += str(value)
        return told

    def _number(self, node: Node, _: dict[str, Any]) -> int:
        return int(_text(node))

    def _boolean(self, node: Node, _: dict[str, Any]) -> bool:
        return _text(node) == "true"

    def _null(self, _: Node, __: dict[str, Any]) -> None:
        return None

    def _unary_expression(self, node: Node, names: dict[str, Any]) -> Any:
        value = self.value(node.named_children[0], names)
        return not value if _text(node).startswith("!") else -value

    def _array(self, node: Node, names: dict[str, Any]) -> list[Any]:
        parts = _parts(node)
        return [self.value(each, names) for each in parts]

    def _object(self, node: Node, names: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for part in _parts(node):
            key, value = _parts(part)
            name = _text(key) if key.type == "identifier" else self._string(key, names)
            if name in told:
                raise PlanError(f"{name} twice")
            told[name] = self.value(value, names)
        return told


class _Template(_Constant):
    """One file with its parameters; what it declares is told when it is asked for."""

    def __init__(
        self, path: Path, given: dict[str, Any], *, group: str, made: Plan
    ) -> None:
        self._path = path
        self._group = group
        self._made = made
        self._nodes = dict(_declared(parse(path)))
        self._known: dict[str, Any] = {}
        self._take(given)

    def _take(self, given: dict[str, Any]) -> None:
        declared = parameters(self._path)
        if unknown := given.keys() - declared.keys():
            raise PlanError(f"{self._path.name} has no parameters {unknown}")
        for name, parameter in declared.items():
            if name in given:
                value = given[name]
            elif parameter.default is None:
                raise PlanError(f"{self._path.name} needs {name}")
            else:
                value = self.value(parameter.default)
            _check(parameter, value)
            self._known[name] = value

    def finish(self) -> dict[str, Any]:
        """Tell all that there is; returns the outputs."""
        outputs = {}
        for name, node in self._nodes.items():
            if node.type == "output_declaration":
                outputs[name] = self.value(_parts(node)[-1])
            else:
                self._look_up(name)
        return outputs

    def _look_up(self, name: str) -> Any:
        if name not in self._known:
            node = self._nodes.get(name)
            if node is None:
                raise PlanError(f"{self._path.name} declares no {name}")
            self._known[name] = self._declared_value(node)
        return self._known[name]

    def _declared_value(self, node: Node) -> Any:
        if node.type == "variable_declaration":
            return self.value(_parts(node)[-1])
        _, text, body = _parts(node)
        told = self._string(text, {})
        make = self._module if node.type == "module_declaration" else self._resource
        existing = any(each.type == "existing" for each in node.children)
        return self._made_of(body, {}, lambda said: make(told, said, existing))

    def _made_of(
        self, body: Node, names: dict[str, Any], make: Callable[[Any], Any]
    ) -> Any:
        """One, several, or None where the condition says so."""
        if body.type == "for_statement":
            return [
                self._made_of(each, more, make) for each, more in self._rounds(body)
            ]
        if body.type == "if_statement":
            condition, body = _parts(body)
            if not self.value(condition, names):
                # What is not made must be right all the same, but for its references.
                return None
        return make(self.value(body, names))

    def _rounds(self, node: Node) -> Iterator[tuple[Node, dict[str, Any]]]:
        loop, items, body = _parts(node)
        variable, *enumerator = map(_text, loop.named_children or [loop])
        for index, item in enumerate(self.value(items)):
            yield body, {variable: item, **dict.fromkeys(enumerator, index)}

    def _resource(self, told: str, body: dict[str, Any], existing: bool) -> Resource:  # noqa: FBT001 - as declared
        type_, _, api = told.partition("@")
        name = body.get("name", "default")
        parent, scope = body.get("parent"), body.get("scope")
        below = type_.rpartition("/")[2]
        if isinstance(parent, Resource):
            id_ = f"{parent.id}/{below}/{name}"
        elif isinstance(scope, Resource):
            id_ = f"{scope.id}/providers/{type_}/{name}"
        else:
            id_ = f"{_group_id(scope or self._group)}/providers/{type_}/{name}"
        made = Resource(
            type=type_,
            api=api,
            id=id_,
            name=name,
            existing=existing,
            body=body,
            template=self._path.name,
        )
        self._made.resources.append(made)
        return made

    def _module(self, told: str, body: dict[str, Any], _: bool) -> dict[str, Any]:  # noqa: FBT001
        group = body.get("scope", self._group)
        template = _Template(
            self._path.parent / told, body["params"], group=group, made=self._made
        )
        return {"outputs": template.finish()}

    def _identifier(self, node: Node, names: dict[str, Any]) -> Any:
        name = _text(node)
        return names[name] if name in names else self._look_up(name)

    def _parenthesized_expression(self, node: Node, names: dict[str, Any]) -> Any:
        return self.value(node.named_children[0], names)

    def _ternary_expression(self, node: Node, names: dict[str, Any]) -> Any:
        condition, this, that = _parts(node)
        return self.value(this if self.value(condition, names) else that, names)

    def _binary_expression(self, node: Node, names: dict[str, Any]) -> Any:
        left, right = _parts(node)
        sign = _text(node.children[1])
        a = self.value(left, names)
        if sign == "&&":
            return a and self.value(right, names)
        if sign == "||":
            return a or self.value(right, names)
        return _SIGNS[sign](a, self.value(right, names))

    def _subscript_expression(self, node: Node, names: dict[str, Any]) -> Any:
        return self._reached(node, names)

    def _member_expression(self, node: Node, names: dict[str, Any]) -> Any:
        return self._reached(node, names)

    def _reached(self, node: Node, names: dict[str, Any]) -> Any:
        """The grammar reads `a ? b : c.d` as `(a ? b : c).d`; Bicep does not."""
        steps: list[Node] = []
        while node.type in {"member_expression", "subscript_expression"}:
            node, step = _parts(node)
            steps.insert(0, step)
        if node.type == "ternary_expression":
            condition, this, that = _parts(node)
            if self.value(condition, names):
                return self.value(this, names)
            node = that
        value = self.value(node, names)
        for step in steps:
            value = self._step(value, step, names)
        return value

    def _step(self, value: Any, step: Node, names: dict[str, Any]) -> Any:
        is_name = step.type == "property_identifier"
        key = _text(step) if is_name else self.value(step, names)
        if isinstance(value, Resource):
            return _said(value, key)
        if is_name and (not isinstance(value, dict) or key not in value):
            raise PlanError(f"{self._path.name}: no {key}")
        return value[key]

    def _for_statement(self, node: Node, _: dict[str, Any]) -> list[Any]:
        return [self.value(body, names) for body, names in self._rounds(node)]

    def _call_expression(self, node: Node, names: dict[str, Any]) -> Any:
        function, arguments = _parts(node)
        values = [self.value(each, names) for each in _parts(arguments)]
        if function.type == "member_expression":
            return f"{_text(function)}()" and {"primarySharedKey": "KEY"}
        name = _text(function)
        if name == "resourceGroup":
            return values[0] if values else _group(self._group)
        if name not in _FUNCTIONS:
            raise PlanError(f"{self._path.name}: no function {name}")
        return _FUNCTIONS[name](*values)


def _declared(root: Node) -> Iterator[tuple[str, Node]]:
    kinds = ("variable", "resource", "module", "output")
    for node in root.named_children:
        if node.type in {f"{kind}_declaration" for kind in kinds}:
            yield _text(_parts(node)[0]), node


def _check(parameter: Parameter, value: Any) -> None:
    limits = parameter.limits
    size = len(value) if isinstance(value, str) else value
    wrong = [
        "allowed" in limits and value not in limits["allowed"],
        "minValue" in limits and value < limits["minValue"],
        "maxValue" in limits and value > limits["maxValue"],
        "minLength" in limits and size < limits["minLength"],
        "maxLength" in limits and size > limits["maxLength"],
    ]
    if any(wrong):
        raise PlanError(f"{parameter.name} can't be {value!r}")


def _said(of: Resource, key: str) -> Any:
    """What is known of a resource when others are made."""
    if key in {"id", "name"}:
        return getattr(of, key)
    known = _ANSWERS.get(of.type)
    if key != "properties" or known is None:
        raise PlanError(f"not known of {of.type}: {key}")
    return known(of)


def principal_of(identity: Resource) -> str:
    """The principal of an identity, as roles are given to it."""
    principal: str = _ANSWERS[identity.type](identity)["principalId"]
    return principal


def _group_id(name: str) -> str:
    return f"{SUBSCRIPTION}/resourceGroups/{name}"


def _group(name: str) -> dict[str, str]:
    return {"id": _group_id(name), "name": name, "location": "westeurope"}


def _uuid(*words: str) -> str:
    return str(uuid5(NAMESPACE_URL, "|".join(words)))


def _union(first: Any, *others: Any) -> Any:
    told = dict(first)
    for other in others:
        for key, value in other.items():
            both = isinstance(value, dict) and isinstance(told.get(key), dict)
            told[key] = _union(told[key], value) if both else value
    return told


_ANSWERS: dict[str, Callable[[Resource], dict[str, Any]]] = {
    "Microsoft.ManagedIdentity/userAssignedIdentities": lambda of: {
        "clientId": _uuid("client", of.name),
        "principalId": _uuid("principal", of.name),
    },
    "Microsoft.Storage/storageAccounts": lambda of: {
        "primaryEndpoints": {
            "blob": f"https://{of.name}.blob.core.windows.net/",
            "queue": f"https://{of.name}.queue.core.windows.net/",
        }
    },
    "Microsoft.App/containerApps": lambda of: {
        "configuration": {"ingress": {"fqdn": f"{of.name}.azurecontainerapps.io"}}
    },
    "Microsoft.Communication/communicationServices": lambda of: {
        "hostName": f"{of.name}.communication.azure.com"
    },
    "Microsoft.ContainerRegistry/registries": lambda of: {
        "loginServer": f"{of.name}.azurecr.io"
    },
    "Microsoft.KeyVault/vaults": lambda of: {
        "vaultUri": f"https://{of.name}.vault.azure.net/"
    },
    "Microsoft.Insights/components": lambda of: {
        "ConnectionString": f"InstrumentationKey={_uuid('insights', of.name)}"
    },
    "Microsoft.OperationalInsights/workspaces": lambda of: {
        "customerId": _uuid("workspace", of.name)
    },
}
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "any": lambda value: value,
    "concat": lambda *lists: [each for one in lists for each in one],
    "contains": lambda of, value: value in of,
    "empty": lambda value: not value,
    "environment": lambda: {"suffixes": {"storage": "core.windows.net"}},
    "guid": _uuid,
    "join": lambda values, between: between.join(values),
    "json": json.loads,
    "length": len,
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceId": lambda group, type_, name: (
        f"{_group_id(group)}/providers/{type_}/{name}"
    ),
    "split": lambda text, between: text.split(between),
    "last": lambda values: values[-1],
    "string": lambda value: (
        json.dumps(value) if isinstance(value, bool) else str(value)
    ),
    "subscription": lambda: {"id": SUBSCRIPTION},
    "subscriptionResourceId": lambda type_, name: (
        f"{SUBSCRIPTION}/providers/{type_}/{name}"
    ),
    "take": lambda value, count: value[:count],
    "tenant": lambda: {"tenantId": TENANT},
    "toLower": str.lower,
    "trim": str.strip,
    "union": _union,
    "uniqueString": lambda *words: sha256("|".join(words).encode()).hexdigest()[:13],
}
