"""docs/reference.md: every public function and record of `secondsight.linux` and `secondsight.devices.device`, out of their docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import FunctionType, ModuleType
from typing import Any

import secondsight.linux
from secondsight.lang import Record, Value

HEAD = """\
# What a driver may call

Every public name of `secondsight.linux`, file by file; a file is called as the kernel's that it models. A function's text names
the kernel function, its file and the release it was read from, and what is left out. What is `@atomic` is one step. What a
device itself has is in `secondsight.devices.device`, at the end. (`make docs` writes this page.)
"""


def reference() -> str:
    """The page."""
    names = sorted(m.name for m in pkgutil.iter_modules(secondsight.linux.__path__))
    modules = [importlib.import_module(f"secondsight.linux.{name}") for name in names]
    modules.append(importlib.import_module("secondsight.devices.device"))
    return HEAD + "".join(_of(module) for module in modules)


def _of(module: ModuleType) -> str:
    name = module.__name__.removeprefix("secondsight.")
    public = {key: getattr(module, key) for key in getattr(module, "__all__", ())}
    functions = {k: v for k, v in public.items() if type(v) is FunctionType and v.__module__ == module.__name__}
    records = {k: v for k, v in public.items() if isinstance(v, type) and issubclass(v, (Record, Value)) and v.__module__ == module.__name__}
    if not functions and not records:
        return ""
    text = f"\n## {name.replace('.', '/')}.py\n\n{_first(module)}\n"
    for key, thing in sorted(records.items()):
        fields = ", ".join(f"`{field}`" for field in inspect.get_annotations(thing))
        methods = [k for k, v in vars(thing).items() if inspect.isfunction(v) and not k.startswith("_")]
        text += f"\n**`{key}`** {_flat(thing)}" + (f" Fields: {fields}." if fields else "")
        text += (f" Callbacks and methods: {', '.join(f'`{m}`' for m in methods)}." if methods else "") + "\n"
    for key, thing in sorted(functions.items()):
        atomic = " `@atomic`" if getattr(thing, "__atomic__", False) else ""
        traced = " *tracepoint*" if getattr(thing, "__tracepoint__", False) else ""
        text += f"\n**`{key}{_signature(thing)}`**{atomic}{traced} {_flat(thing)}\n"
    return text


def _signature(function: Any) -> str:
    """The signature in the words of the source."""
    signature = inspect.signature(function)
    parts = []
    for parameter in signature.parameters.values():
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    result = "" if signature.return_annotation in (signature.empty, "None") else f" -> {signature.return_annotation}"
    return f"({', '.join(parts)}){result}"


def _flat(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def _first(module: ModuleType) -> str:
    """The first paragraph of a module's text."""
    return " ".join((inspect.getdoc(module) or "").partition("\n\n")[0].split())


