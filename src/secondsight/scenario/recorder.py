"""Recording a scenario: the `@scenario` decorator, the recorder `s` it passes, and loading files of them.

A scenario function is called once, when it is decorated. Nothing happens to memory then: each call on
`s` only notes an operation, and the decorated name becomes a `Scenario`, which is data. The model and
the real kernels run that data.
"""

from __future__ import annotations

import difflib
import hashlib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from secondsight.lang.errors import LangError
from secondsight.lang.modules import load, why_no_file
from secondsight.scenario.check import CheckedHandle, Checker
from secondsight.scenario.data import Scenario, ScenarioThread
from secondsight.scenario.handles import (
    INSIDE,
    Address,
    DeviceHandle,
    File,
    Importer,
    Mapping,
    Pin,
    Process,
    caller,
    handle_for,
    span,
)
from secondsight.scenario.methods import RecorderMethods
from secondsight.scenario.ops import (
    MAX_THREADS,
    OPS,
    REQUIRED,
    ArgType,
    ArgValue,
    Default,
    HandleRef,
    HandleType,
    Op,
    Operation,
    ScenarioError,
    handle_name,
)

__all__ = ["Address", "DeviceHandle", "File", "Importer", "Mapping", "Pin", "Process", "Recorder", "load_scenarios", "scenario"]

INSIDE.add(__file__)


class _After:
    """`s.after()`: its operations run after every thread has ended. A context, or a decorator."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        self._recorder._enter("final", "after()")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._recorder._section = "done"

    def __call__(self, body: Callable[[], object]) -> Callable[[], object]:
        with self:
            body()
        return body


class Recorder(RecorderMethods):
    """The `s` of a scenario function.

    Every operation takes `into="name"`: the name under which its result appears in the outcome (a
    page's value for a read, `ok` for the others, or the errno or signal it failed with). Without it,
    a result appears only when the operation fails, as `thread[index].operation`.

    Calls outside a thread, before the first thread, are the setup: they run first, alone. Handles
    that threads share must be made there. Everything happens in one process, unless `s.process()`
    gives another (`Process`): files are for all of them, addresses, devices and pins for the one that made them. All errors are ScenarioError and name the caller's line.
    """

    def __init__(self) -> None:
        self._checker = Checker()
        self._setup: list[Op] = []
        self._final: list[Op] = []
        self._threads: dict[str, list[Op]] = {}
        self._section = "setup"
        self._process: str | None = None
        self._finished = False
        self._made = dict.fromkeys(HandleType, 0)

    # Structure

    def thread(self, body: Callable[[], object]) -> Callable[[], object]:
        """Decorator: the operations that `body` calls are a thread of that name, run together with
        the other threads once the setup is done."""
        return self._thread(body, None)

    def _thread(self, body: Callable[[], object], process: str | None) -> Callable[[], object]:
        name = getattr(body, "__name__", repr(body))
        self._not_finished(process)
        if not name.isidentifier():
            raise ScenarioError(f"thread {name}: not a name", "give s.thread a function made with def", caller())
        if name in self._threads or name in ("setup", "final"):
            raise ScenarioError(f"thread {name}: the name is taken", "name the thread differently", caller())
        self._count(f"thread {name}", len(self._threads) + bool(self._final))
        self._enter(name, f"thread {name}")
        self._threads[name] = []
        self._process = process
        body()
        self._process = None
        self._section = "done"
        return body

    def _count(self, what: str, others: int) -> None:
        """Refuse a thread too many; what runs after them is one."""
        if others >= MAX_THREADS:
            counted = f"there are {MAX_THREADS} threads already, what runs after them counted"
            raise ScenarioError(f"{what}: {counted}", "use fewer threads", caller())

    def after(self, body: Callable[[], object] | None = None) -> _After:
        """What runs when every thread has ended: `with s.after():`, or a decorator on a function."""
        block = _After(self)
        if body is not None:
            block(body)
        return block

    # Operations (their methods: methods.py)

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        """An operation of the table that has no method of its own takes its arguments by keyword."""
        if kind.startswith("_"):
            raise AttributeError(kind)
        if kind not in OPS:
            near = difflib.get_close_matches(kind, OPS, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"there are: {', '.join(OPS)}"
            raise ScenarioError(f"no operation {kind}", remedy, caller())

        def record(*given: object, into: str | None = None, **args: object) -> Any:
            spec = OPS[kind]
            names = [name for name, arg in spec.args.items() if not arg.keyword]
            args = dict(zip(names, given, strict=False)) | args
            missing = {n: arg.default for n, arg in spec.args.items() if n not in args and arg.default is not REQUIRED}
            return self._operation(kind, into, **missing, **args)

        return record

    # Recording

    def _enter(self, section: str, what: str) -> None:
        if self._section not in ("setup", "done"):
            raise ScenarioError(f"{what} inside {self._section}", "threads and after() do not nest", caller())
        if self._process is not None:
            remedy = f"decorate it with @PROCESS.thread, outside of `with`; {self._process} is the block's"
            if section == "final":
                remedy = "put `with PROCESS:` inside `with s.after():`"
            raise ScenarioError(f"{what} inside a block of {self._process}", remedy, caller())
        self._section = section

    def _begin_process(self, name: str) -> None:
        """What follows is done in another process."""
        self._not_finished(name)
        if self._section not in ("setup", "final", "done"):
            raise ScenarioError(f"{name} inside thread {self._section}", f"a thread is of one process: @{name}.thread", caller())
        if self._process is not None:
            raise ScenarioError(f"{name} inside a block of {self._process}", "end that block first", caller())
        self._process = name

    def _not_finished(self, name: str | None) -> None:
        if self._finished:
            raise ScenarioError(f"{name or 's'} belongs to another scenario", "make the handle in this scenario", caller())

    def _operation(self, kind: str, into: str | None, **args: object) -> Any:
        """Note an operation; the handle that it makes."""
        op, handle = self._checked(kind, into, args)
        self._ops().append(op)
        return None if handle is None else handle_for(self, handle)

    def _checked(self, kind: str, into: str | None, args: dict[str, object]) -> tuple[Op, CheckedHandle | None]:
        """An operation as data, past the checker; and the handle that it makes."""
        site, spec = caller(), OPS[kind]
        if self._section == "done":
            reason = f"{kind}: after a thread, outside every thread"
            raise ScenarioError(reason, "put what runs after the threads in `with s.after():`", site)
        made = spec.makes
        makes = None if made is None else handle_name(made, self._made[made])
        values: dict[str, ArgValue] = {name: self._value(kind, value, site) for name, value in self._whole(spec, args).items()}
        if self._section == "final" and not self._final:
            self._count("after()", len(self._threads))
        op = Op(kind, values, into, makes, site, self._process)
        handle = self._checker.add(self._section, op)
        if made is not None:
            self._made[made] += 1
        return op, handle

    @staticmethod
    def _whole(spec: Operation, args: dict[str, object]) -> dict[str, object]:
        """The arguments with those that follow from others."""
        whole = dict(args)
        for name, arg in spec.args.items():
            if isinstance(arg.default, Default) and whole.get(name, arg.default) in (None, arg.default):
                whole[name] = _follows(spec, arg.default, args)
        return {name: whole[name] for name in spec.args if name in whole} | whole

    def _ops(self) -> list[Op]:
        if self._section in ("setup", "final"):
            return self._setup if self._section == "setup" else self._final
        return self._threads[self._section]

    def _value(self, kind: str, value: Any, site: tuple[str, int]) -> Any:
        """The argument as data. What is no Value is left for the checker to refuse."""
        if isinstance(value, File | Address | DeviceHandle | Pin | Importer | Process):
            if value._recorder is not self:
                reason = f"{kind}: {value!r} belongs to another scenario"
                raise ScenarioError(reason, "make the handle in this scenario", site)
            return HandleRef(value._handle.name, value.page if isinstance(value, Address) else 0)
        if isinstance(value, list | tuple):
            return tuple(
                tuple(self._value(kind, part, site) for part in item) if isinstance(item, list | tuple) else item
                for item in value
            )
        return value

    def scenario(self, name: str, doc: str) -> Scenario:
        """What was recorded, as data. (`@scenario` does this for you.)"""
        self._finished = True
        threads = tuple(ScenarioThread(name, tuple(ops)) for name, ops in self._threads.items())
        return Scenario(name, doc, tuple(self._setup), threads, tuple(self._final))


def _follows(spec: Operation, default: Default, args: dict[str, object]) -> int | None:
    """How many pages an operation means that was given no number."""
    of = {arg.type: args.get(name) for name, arg in spec.args.items()}
    if default is Default.SPAN:
        return span(of.get(ArgType.ADDRESS))
    file, page = of.get(ArgType.FD), of.get(ArgType.PAGE)
    if isinstance(file, File):
        return file.pages - page if isinstance(page, int) else None
    if of.get(ArgType.PLACE) is not None:
        return span(of[ArgType.PLACE])
    if file is None:
        raise ScenarioError(f"{spec.name}: how many pages?", "give pages= for anonymous memory", caller())
    return None


def scenario(body: Callable[[Recorder], object]) -> Scenario:
    """Decorator: record a scenario. The function is called once, with a `Recorder`; its name becomes
    the `Scenario`, its docstring the scenario's."""
    recorder = Recorder()
    body(recorder)
    return recorder.scenario(body.__name__, (body.__doc__ or "").strip())


def load_scenarios(path: str | Path) -> list[Scenario]:
    """The scenarios that a Python file defines, in its order. Raises ScenarioError, naming the file's
    own line, when it cannot be read, does not run, or defines none."""
    path = Path(path)
    if not path.is_file():
        raise ScenarioError(why_no_file(path), "give the path of a Python file with @scenario functions", (str(path), 0))
    name = f"_secondsight_scenarios_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    try:
        module = load(name, path)
    except ScenarioError:
        raise
    except LangError as error:
        raise ScenarioError(str(error), "", (str(path), 0)) from error
    except SyntaxError as error:
        raise ScenarioError(f"syntax error: {error.msg}", "", (str(path), error.lineno or 0)) from error
    except (Exception, SystemExit) as error:
        raise ScenarioError(f"{type(error).__name__}: {error}", "", (str(path), _line_in(path, error))) from error
    found = {id(value): value for value in vars(module).values() if isinstance(value, Scenario)}
    if not found:
        raise ScenarioError("defines no scenario", "decorate a function with @scenario", (str(path), 0))
    return list(found.values())


def _line_in(path: Path, error: BaseException) -> int:
    """The last line of `path` on the way to the error."""
    wanted = path.resolve()
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == wanted]
    return (lines[-1] or 0) if lines else 0
