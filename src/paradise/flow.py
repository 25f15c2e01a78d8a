"""What a module's `forward` calls, on every path that it may take; found by following it with symbols."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn

CHOICES = 16  # on one path; a loop whose end depends on the input would have no end
PATHS = 128  # of one `forward`


class Unfollowable(Exception):
    """A `forward` does with its input what cannot be done with a symbol. The message says what."""


@dataclass(frozen=True)
class Path:
    """One path through a `forward`.

    Attributes:
        calls: The modules that it calls, one after the other, and the node of each call in the graph.
        read: The modules of which it reads a parameter or a buffer, other than by calling them.
    """

    calls: list[tuple[nn.Module, fx.Node]]
    read: set[nn.Module]

    def named(self, module: nn.Module) -> set[str]:
        """The arguments without which `forward` of `module` could be called, but with which it is called here."""
        signature = inspect.signature(module.forward)
        calls = [signature.bind_partial(*node.args, **node.kwargs) for called, node in self.calls if called is module]
        return {name for call in calls for name in call.arguments}


def is_chain(module: nn.Module) -> bool:
    """Whether a module is no more than a list of others, each of which may be called by itself."""
    lists = (nn.Sequential.forward, nn.Module.forward)
    return type(module).forward in lists and "forward" not in vars(module) and not hooks(module)


def hooks(module: nn.Module) -> list[str]:
    """Which kinds of hooks a module has, in words."""
    return [key.strip("_").replace("_", " ") for key, value in vars(module).items() if key.endswith("_hooks") and value]


def paths(module: nn.Module, plain: set[str]) -> list[Path]:
    """Follows `forward` along every path: where it asks the input or a flag, both answers are tried.

    A path that ends in an AssertionError or a ValueError, as a check of shapes does, gives no output and is left out.
    Chains (see `is_chain`) are followed into, other modules are not.

    Args:
        module: Its modes are those that `forward` sees.
        plain: The arguments that are known to have their default value.

    Returns:
        The paths, one at least.

    Raises:
        Unfollowable: `forward` cannot be followed, on one path at least, or has too many.
    """
    if isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module) or "__call__" in vars(type(module)):
        raise Unfollowable("it is not its class's")
    found: list[Path] = []
    choices: list[bool] = []
    for _ in range(PATHS):
        path = _follow(module, plain, choices)
        found += [] if path is None else [path]
        while choices and not choices[-1]:
            choices.pop()
        if not choices:
            if found:
                return found
            raise Unfollowable("no path ends in an output")
        choices[-1] = False
    raise Unfollowable(f"it has more than {PATHS} paths")


def _follow(module: nn.Module, plain: set[str], choices: list[bool]) -> Path | None:
    """The path of these choices, which are completed by those that it meets; None if it ends in a check."""
    tracer = _Tracer(choices)
    try:
        with warnings.catch_warnings(), _undone(module), _asking(type(module).forward, tracer):
            warnings.simplefilter("ignore")
            graph = tracer.trace(module, _arguments(module, plain, tracer))
    except fx.proxy.TraceError as error:
        raise Unfollowable(_line(error)) from error
    except (AssertionError, ValueError):
        return None
    except Exception as error:  # whatever a foreign `forward` does with a symbol
        raise Unfollowable(_line(error)) from error
    owners = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    return Path(tracer.calls, {module.get_submodule(owner) for owner in owners})


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _arguments(module: nn.Module, plain: set[str], tracer: "_Tracer") -> dict[str, Any]:
    """What is no symbol among the arguments: defaults, and flags both ways."""
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(module.forward).parameters.items():
        if parameter.default is parameter.empty:
            continue
        if name in plain:
            given[name] = parameter.default
        elif isinstance(parameter.default, bool):
            given[name] = tracer.choose()
        elif tracer.choose():
            given[name] = parameter.default
    return given


@contextmanager
def _undone(module: nn.Module) -> Iterator[None]:
    """Whatever is done to modules' attributes meanwhile is undone, and so are draws from torch's random generator."""
    saved = {one: dict(vars(one)) for one in module.modules() if not isinstance(one, torch.jit.ScriptModule)}
    try:
        for one, attributes in saved.items():
            containers = {name: value for name, value in attributes.items() if isinstance(value, (dict, list, set))}
            vars(one).update({name: value.copy() for name, value in containers.items()})
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for one, attributes in saved.items():
            vars(one).clear()
            vars(one).update(attributes)


@contextmanager
def _asking(forward: Any, tracer: "_Tracer") -> Iterator[None]:
    """`isinstance`, where `forward` was written, may say of a symbol that it is a tensor and that it is none."""
    function = inspect.unwrap(forward)
    names: dict[str, Any] = function.__globals__ if isinstance(function, FunctionType) else {}
    own = {"isinstance": names["isinstance"]} if "isinstance" in names else {}

    def ask(thing: Any, kinds: Any) -> bool:
        return tracer.choose() if isinstance(thing, fx.Proxy) else isinstance(thing, kinds)

    names["isinstance"] = ask
    try:
        yield
    finally:
        del names["isinstance"]
        names.update(own)


class _Tracer(fx.Tracer):
    """Sees which modules are called, not what these do, and answers by `choices` what is asked of symbols."""

    proxy_buffer_attributes = True

    def __init__(self, choices: list[bool]):
        super().__init__()
        self.choices, self.made = choices, 0
        self.calls: list[tuple[nn.Module, fx.Node]] = []

    def choose(self) -> bool:
        """The next of the choices; one that was not met before begins as True."""
        if self.made == CHOICES:
            raise fx.proxy.TraceError(f"it asks its input more than {CHOICES} times")
        if self.made == len(self.choices):
            self.choices.append(True)
        self.made += 1
        return self.choices[self.made - 1]

    def to_bool(self, obj: fx.Proxy) -> bool:
        return self.choose()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not is_chain(m)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        if not is_chain(m):
            self.calls.append((m, result.node))
        return result
