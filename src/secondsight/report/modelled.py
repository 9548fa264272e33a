"""What is modelled of the kernel: by file of the kernel's, each function with the release it was read from, and what is left out.

All of it is read out of the docstrings of `linux/`, and the judges out of `conform/`, so that it cannot be out of date.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from types import FunctionType, ModuleType

from secondsight.lang import LangError
from secondsight.lang.names import there_are

__all__ = ["KernelFile", "KernelFunction", "kernel_files"]

_SOURCE = re.compile(r"\(([\w./-]+\.[chS][^()]*?), Linux (\d+\.\d+)\)")
_FILE = re.compile(r"\(([\w./-]+\.[chS](?: and [\w./-]+\.[chS])?)")
_CALL = re.compile(r"\b([A-Za-z_]\w*)\((?!\d)\w*\)")


@dataclass(frozen=True)
class KernelFunction:
    """A function of `linux/`: its `name` here, the kernel's `functions` that it stands for, their `file` and `release`, what it leaves out."""

    name: str
    functions: tuple[str, ...]
    file: str
    release: str
    left_out: str

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that `file` names, each with its folder."""
        return tuple(_paths(self.file))


@dataclass(frozen=True)
class KernelFile:
    """A file of `linux/`: its `model` name, the kernel's `files`, its judge with `reason`, what it leaves out, its functions.

    `own` are the names of what stands for no kernel function: hardware, tracepoints, tests for rules.
    """

    model: str
    files: tuple[str, ...]
    judge: str
    reason: str
    left_out: str
    functions: tuple[KernelFunction, ...]
    own: tuple[str, ...]


def kernel_files(name: str | None = None) -> list[KernelFile]:
    """Every file of `linux/` that has functions; only those that `name` is about: a file of the kernel's or here, or a function.

    Raises `LangError`, with names that are like it, where nothing is.
    """
    known = [file for module in _modules() if (file := _file(module)).functions or file.own]
    if name is None:
        return known
    wanted = [file for file in known if name in _names(file)]
    if not wanted:
        by_function = [(file, [f for f in file.functions if name in (f.name, *f.functions)]) for file in known]
        wanted = [_with(file, functions) for file, functions in by_function if functions]
    if not wanted:
        names = {n for file in known for n in _names(file)} | {n for file in known for f in file.functions for n in (f.name, *f.functions)}
        raise LangError(f"nothing that is modelled is called {name}; {there_are(name, sorted(names), 'secondsight model')}")
    return wanted


def _names(file: KernelFile) -> set[str]:
    paths = [file.model, *file.files]
    return {*paths, *(PurePath(path).name for path in paths), *(PurePath(path).stem for path in paths)}


def _with(file: KernelFile, functions: list[KernelFunction]) -> KernelFile:
    return KernelFile(file.model, file.files, file.judge, file.reason, file.left_out, tuple(functions), ())


def _modules() -> Iterator[ModuleType]:
    import secondsight.linux

    for one in sorted(module.name for module in pkgutil.iter_modules(secondsight.linux.__path__)):
        yield importlib.import_module(f"secondsight.linux.{one}")


def _file(module: ModuleType) -> KernelFile:
    model = module.__name__.rpartition(".")[2] + ".py"
    functions, own = [], []
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if type(value) is not FunctionType or value.__module__ != module.__name__:
            continue
        function = _function(name, inspect.getdoc(value) or "")
        if function is None:
            own.append(name)
        else:
            functions.append(function)
    heading = " ".join((module.__doc__ or "").partition(":")[0].split())
    files = tuple(dict.fromkeys([*_paths(heading), *(path for one in functions for path in _paths(one.file))]))
    judge, reason = _judge(model)
    return KernelFile(model, files, judge, reason, _left_out(module.__doc__ or ""), tuple(functions), tuple(own))


def _paths(text: str) -> Iterator[str]:
    """The kernel's files that a text names; one that is named without its folder is in that of the one before."""
    folder = PurePath()
    for path in map(PurePath, re.findall(r"[\w./-]+\.[chS]\b", text)):
        folder = path.parent if len(path.parts) > 1 else folder
        yield str(folder / path.name)


def _function(name: str, doc: str) -> KernelFunction | None:
    """What a docstring says of the kernel's functions; None where it names none with its file and release."""
    text = " ".join(doc.split())
    source = _SOURCE.search(text)
    if source is None:
        return None
    names = tuple(dict.fromkeys(_CALL.findall(text[: source.start()]))) or (name,)
    files = dict.fromkeys(_FILE.findall(text[: source.end()]))
    return KernelFunction(name, names, ", ".join(files), source[2], _left_out(doc))


def _left_out(doc: str) -> str:
    """From "Left out:" to the end of its paragraph."""
    found = [" ".join(p.partition("Left out:")[2].split()) for p in inspect.cleandoc(doc).split("\n\n") if "Left out:" in p]
    return " ".join(found)


def _judge(model: str) -> tuple[str, str]:
    from secondsight.conform.judges import WITHOUT
    from secondsight.conform.targets import TARGETS

    for target in TARGETS:
        if model == target.model or model in target.parts:
            return "conform", f"{target.file} of {', '.join(target.releases)} runs beside it, step by step"
    return WITHOUT[model]
