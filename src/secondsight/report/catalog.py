"""What there is, by kind and name, and all that is known of each: out of docstrings and declarations, so that it cannot be out of date."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import secondsight
from secondsight.contract.check import written
from secondsight.lang import LangError, Record, Value
from secondsight.lang.names import there_are
from secondsight.report.beginnings import begun, the_one_begun
from secondsight.report.columns import WIDTH
from secondsight.report.glossary import TERMS
from secondsight.report.named_rules import LANGUAGE, error_classes, required
from secondsight.scenario import Scenario

__all__ = ["KINDS", "Thing", "explained", "things"]

_HOUSE = Path(secondsight.__file__).parent


@dataclass(frozen=True)
class Thing:
    """Something that has a name here: of which kind, a sentence, and `tell`, which gives all that is known of it, a paragraph each.

    A paragraph that begins with a blank is laid out already. `others` are names that it has too, in messages and texts.
    """

    kind: str
    name: str
    summary: str
    tell: Callable[[], Iterator[str]]
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.name, *self.others


def things(kind: str) -> list[Thing]:
    """All of a kind (its name, or the beginning of it), in their own order. Raises `LangError` that lists the kinds."""
    meant = the_one_begun(kind, KINDS)
    if meant is None:
        raise LangError(f"there is no list of {kind}; there are {', '.join(KINDS)}")
    return list(KINDS[meant]())


def explained(name: str) -> list[Thing]:
    """Everything that has the name, of whatever kind, or the one name that begins so. Raises `LangError` with names that are like it."""
    known = [*(thing for kind in KINDS for thing in things(kind)), *_tried()]
    exact = [thing for thing in known if name in thing.names]
    if exact:
        return exact
    meant = begun(name, [thing.name for thing in known])
    if len(meant) > 1:
        raise LangError(f"{name} is the beginning of {', '.join(meant[:5])}{' and others' * (len(meant) > 5)}; give more of the name")
    if not meant:
        hint = there_are(name, (one for thing in known for one in thing.names), f"secondsight list {'|'.join(KINDS)}")
        raise LangError(f"nothing here is called {name}; {hint}")
    return [thing for thing in known if thing.name == meant[0]]


# What most have.


def _doc(thing: Any) -> Iterator[str]:
    """A docstring's paragraphs."""
    for paragraph in (inspect.getdoc(thing) or "").split("\n\n"):
        laid_out = any(line.startswith((" ", "*", "|", ">")) for line in paragraph.splitlines())
        yield textwrap.indent(paragraph, "  ") if laid_out else _flat(paragraph)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _first(text: str | None) -> str:
    """The first sentence."""
    flat = _flat((text or "").partition("\n\n")[0])
    end = next((i for i in range(len(flat)) if flat.startswith((". ", ".\0"), i)), len(flat))
    return flat[:end].rstrip(".")


def _place(thing: Any) -> str:
    """Where it is written: `contract/coherence.py:17`."""
    thing = inspect.unwrap(thing)
    file, line = Path(inspect.getsourcefile(thing) or "?"), inspect.getsourcelines(thing)[1]
    return f"{file.relative_to(_HOUSE) if file.is_relative_to(_HOUSE) else file}:{line}"


def _source(thing: Any) -> str:
    """Its text, to be shown as it is."""
    return textwrap.indent(textwrap.dedent(inspect.getsource(thing)).rstrip(), "    ")


# The contract.


def _adversaries() -> Iterator[Thing]:
    from secondsight.contract import EVERY_ADVERSARY

    for one in EVERY_ADVERSARY.values():
        yield Thing("adversaries", one.name, one.summary, functools.partial(_adversary, one.name))


def _adversary(name: str) -> Iterator[str]:
    from secondsight.contract import EVERY_ADVERSARY
    from secondsight.contract.lessons import KEPT, ONLY_HERE

    adversary = EVERY_ADVERSARY[name]
    source, _ = adversary.scenarios[0].threads[0].ops[0].site
    yield f"{adversary.summary[0].upper()}{adversary.summary[1:]}. Its scenarios, each of which a driver must survive in every interleaving:"
    first = adversary.scenarios[0]
    yield "\n".join(f"  {one.name}" for one in adversary.scenarios)
    yield f"What {first.name!r} does:"
    yield _operations(first)
    if name in ONLY_HERE:
        yield f"No other adversary catches this driver ({_place(ONLY_HERE[name])}):"
        yield _source(ONLY_HERE[name])
    else:
        yield f"Others catch what it catches; it is here because it is {KEPT[name]}."
    yield f"Try it: secondsight check my_driver.py --adversary {name}"
    yield f"Source: {Path(source).relative_to(_HOUSE)}"


def _operations(scenario: Scenario) -> str:
    """A scenario's rows, by thread."""
    lines: list[str] = []
    parts = [("first", scenario.setup), *((f"thread {t.name}", t.ops) for t in scenario.threads), ("at the end", scenario.final)]
    for heading, ops in parts:
        if ops:
            lines += [f"  {heading}:", *(f"    {op}" for op in ops)]
    return "\n".join(lines)


def _rules() -> Iterator[Thing]:
    from secondsight.contract import RULES
    from secondsight.contract.lessons import ALWAYS_CHECKED

    for rule in RULES.values():
        yield Thing("rules", rule.name, rule.summary, functools.partial(_rule, rule.name))
    for name, summary in ALWAYS_CHECKED.items():
        yield Thing("rules", name, f"part of progress: {summary}", functools.partial(_rule, name))
    named = [name for name in dict.fromkeys((*LANGUAGE, *required())) if name not in RULES and name not in ALWAYS_CHECKED]
    for name in named:
        summary = _first(LANGUAGE[name]) if name in LANGUAGE else _required_by(name)
        yield Thing("rules", name, summary, functools.partial(_rule, name))


def _required_by(name: str) -> str:
    """What breaks a rule that the sources require: the first message, and who says it."""
    first = required()[name][0]
    return f"{first.place.partition(':')[0]}, {first.function}(): {first.message}"


def _rule(name: str) -> Iterator[str]:
    from secondsight.contract import RULES
    from secondsight.contract.lessons import ALSO_BROKEN, ALWAYS_CHECKED, RULES_BROKEN

    if name in ALWAYS_CHECKED:
        yield f"Broken where {ALWAYS_CHECKED[name]}. It is a part of the rule progress, and always checked."
    elif name == "progress":
        yield RULES[name].summary
        yield "A trace names the part that was broken:"
        yield "\n".join(textwrap.fill(f"{part}: {says}", WIDTH - 2, initial_indent="  ", subsequent_indent="    ") for part, says in ALWAYS_CHECKED.items())
    elif name not in RULES:
        if name in LANGUAGE:
            yield f"{LANGUAGE[name]} It is always checked."
        if name in required():
            asked = sorted({one.place.partition("/")[0] for one in required()[name]})
            always = "" if asked == ["cases"] else " It is always checked."
            yield f"Required where it is written ({', '.join(f'{folder}/' for folder in asked)}).{always} What a message says, and who says it:"
            yield "\n".join(_row(one.message, f"{one.function}(), {one.place}", 24) for one in required()[name])
    else:
        says = f", and that say `{RULES[name].says} = True` there" if RULES[name].says else ""
        yield f"Asked of drivers that promise {' or '.join(RULES[name].promises)} (`promise` in the class){says}."
        for probe in RULES[name].probes:
            yield f"{probe.__name__}(), {_place(probe)}:"
            yield from _doc(probe)
    rows = [(adversary, wrong, right) for rule, adversary, wrong, right in RULES_BROKEN if rule == name]
    rows += [ALSO_BROKEN[name]] if name in ALSO_BROKEN else []
    if rows:
        adversary, wrong, right = min(rows, key=lambda row: len(inspect.getsource(row[1])))
        yield f"A small driver that breaks it ({_place(wrong)}), which the adversary {adversary} shows:"
        yield _source(wrong)
        yield f"A right one that looks much like it: {right.__name__} ({_place(right)})"


def _tables() -> Iterator[Thing]:
    from secondsight.cases import TABLES

    for table in TABLES.values():
        yield Thing("tables", table.name, f"{table.title}: {table.question}", functools.partial(_table, table.name))


def _table(name: str) -> Iterator[str]:
    from secondsight.cases import TABLES

    table = TABLES[name]
    yield from _doc(inspect.getmodule(table.program))
    for heading, entries in (("Rows:", table.rows), ("Columns:", table.columns)):
        yield heading
        yield "\n".join(_row(entry.name, entry.summary, 24) for entry in entries)
    if table.findings:
        yield "What was claimed:"
        yield "\n".join(textwrap.fill(f"* {one.claim}", WIDTH, initial_indent="  ", subsequent_indent="    ") for one in table.findings)
    yield f"Settle it: secondsight settle {name}"


# The machinery.


def _modules() -> Iterator[ModuleType]:
    import secondsight.linux

    for one in sorted(m.name for m in pkgutil.iter_modules(secondsight.linux.__path__)):
        yield importlib.import_module(f"secondsight.linux.{one}")
    yield importlib.import_module("secondsight.devices.device")


def _functions() -> Iterator[Thing]:
    for module in _modules():
        for name in sorted(getattr(module, "__all__", ())):
            value = getattr(module, name)
            if type(value) is FunctionType and value.__module__ == module.__name__:
                yield Thing("functions", name, _first(value.__doc__), functools.partial(_function, value))


def _function(function: Any) -> Iterator[str]:
    atomic = "@atomic, one step: " if getattr(function, "__atomic__", False) else ""
    parameters = inspect.signature(function).parameters.values()
    result = inspect.signature(function).return_annotation
    signature = f"{function.__name__}({', '.join(f'{p.name}: {p.annotation}' for p in parameters)})"
    yield atomic + signature + ("" if result in (inspect.Signature.empty, "None") else f" -> {result}")
    yield from _doc(function)
    yield f"In a driver: from {function.__module__.rpartition('.')[0]} import {function.__module__.rpartition('.')[2]}"
    yield f"Source: {_place(function)}"


def _records() -> Iterator[Thing]:
    for module in _modules():
        for name in sorted(getattr(module, "__all__", ())):
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, (Record, Value)) and value.__module__ == module.__name__:
                yield Thing("records", name, _first(value.__doc__), functools.partial(_record, value))


def _record(record: type[Any]) -> Iterator[str]:
    """What it is, its fields and methods with their types; those that it has from others are with those."""
    yield from _doc(record)
    bases = [base.__name__ for base in record.__mro__[1:] if base not in (Record, Value, object)]
    if bases:
        yield f"It is a {', a '.join(bases)} too."
    fields = {name: annotation for name, annotation in inspect.get_annotations(record).items() if not name.startswith("_")}
    if fields:
        yield "Fields:"
        yield "\n".join(_row(name, str(annotation), 24) for name, annotation in fields.items())
    methods = {name: value for name, value in vars(record).items() if inspect.isfunction(inspect.unwrap(value)) and not name.startswith("_")}
    if methods:
        yield "Methods and callbacks:"
        yield "\n".join(_row(f"{name}{written(value)}", _first(inspect.getdoc(value)), 24) for name, value in methods.items())
    yield f"In a driver: from {record.__module__} import {record.__name__}"
    yield f"Source: {_place(record)}"


def _bounds() -> Iterator[Thing]:
    from secondsight.linux import BOUNDS

    for one in BOUNDS.values():
        summary = f"{one.least} to {one.most}; a machine by hand has {one.usual}"
        yield Thing("bounds", one.name, summary, functools.partial(_bound, one.name))


def _bound(name: str) -> Iterator[str]:
    from secondsight.linux import BOUNDS

    one = BOUNDS[name]
    yield f"A machine has {one.least} at least and {one.most} at most; one that is driven by hand has {one.usual} unless it is told otherwise."
    uses = [
        f"  {Path(str(module.__file__)).relative_to(_HOUSE)}:{number}:\n    {line.strip()}"
        for module in _modules()
        for number, line in enumerate(inspect.getsource(module).splitlines(), 1)
        if f'bound("{name}"' in line
    ]
    if uses:
        yield "It is declared beside the first array that it sizes:"
        yield "\n".join(uses)
    yield f"Decide it by hand: secondsight check my_driver.py --bound {name}=N. A search raises it by itself where it runs out."


# Scenarios and kernels.


def _operations_there_are() -> Iterator[Thing]:
    from secondsight.scenario import OPS

    for name, op in OPS.items():
        yield Thing("operations", name, _first(op.manual), functools.partial(_operation, name))


def _operation(name: str) -> Iterator[str]:
    from secondsight.scenario import OPS

    op = OPS[name]
    yield from (_flat(paragraph) for paragraph in op.manual.split("\n\n"))
    if op.args:
        yield "Arguments:"
        yield "\n".join(_row(key, arg.type.words + ("" if arg.default is None or not arg.optional else ", or nothing"), 12) for key, arg in op.args.items())
    if op.makes is not None:
        yield f"Gives a {op.makes.value}."
    if op.needs.value != "nothing":
        yield f"A real kernel needs {op.needs.value} for it."
    if op.model_only or op.kernel_only:
        yield f"Only {'the model' if op.model_only else 'a real kernel'} can do it."


def _scenarios() -> Iterator[Thing]:
    from secondsight.scenario.shipped import shipped

    for file, scenarios in shipped().items():
        yield Thing("scenarios", file.stem, f"all of: {', '.join(s.name for s in scenarios)}", functools.partial(_file, file, scenarios))
        for one in scenarios:
            yield Thing("scenarios", one.name, _first(one.doc), functools.partial(_scenario, file, one))


def _file(file: Path, scenarios: Iterable[Scenario]) -> Iterator[str]:
    yield "\n".join(_row(one.name, _first(one.doc), 30) for one in scenarios)
    yield f"Run them: secondsight run {file.stem}"
    yield f"Source: {file.parent.name}/{file.name}"


def _scenario(file: Path, scenario: Scenario) -> Iterator[str]:
    yield from (_flat(paragraph) for paragraph in scenario.doc.split("\n\n"))
    yield _operations(scenario)
    yield f"Run it: secondsight run {scenario.name}"
    yield f"Source: {file.parent.name}/{file.name}"


def _kernels() -> Iterator[Thing]:
    from secondsight.kernels import BUILDABLE, GETTABLE, HOST

    for name, known in {**GETTABLE, **BUILDABLE}.items():
        yield Thing("kernels", f"linux-{name}", known.command, functools.partial(_kernel, name, known.command))
    yield Thing("kernels", HOST, "the running kernel", functools.partial(_kernel, HOST, ""))


def _kernel(name: str, command: str) -> Iterator[str]:
    from secondsight.kernels import Kernel, KernelError
    from secondsight.kernels.ability import ABILITIES, abilities

    try:
        found = Kernel.find(name)
    except KernelError as error:
        yield f"It is not here, or cannot be used: {error}"
        yield f"Get it: {command}"
        return
    yield f"It is here: Linux {found.release}. What it can run:"
    yield "\n".join(_row(what, ABILITIES[what], 16) for what in abilities(found))
    yield f"Use it: secondsight run two_devices --on {name if name == 'host' else f'linux-{name}'}"


def _row(name: str, text: str, width: int) -> str:
    """A name and what it is, in two columns; a long name has a line of its own."""
    indent = " " * (width + 4)
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent) or [indent]
    if len(name) > width:
        return "\n".join([f"  {name}", *lines])
    return "\n".join([f"  {name:<{width}}  {lines[0].strip()}", *lines[1:]]).rstrip()


def _terms() -> Iterator[Thing]:
    for term in TERMS:
        yield Thing("terms", term.name, term.summary, functools.partial(_paragraphs, term.text), term.forms)


def _errors() -> Iterator[Thing]:
    for one in error_classes():
        rule = getattr(one, "rule", None)
        yield Thing("errors", one.__name__, _first(inspect.getdoc(one)), functools.partial(_error, one), (rule,) if isinstance(rule, str) else ())


def _error(kind: type[LangError]) -> Iterator[str]:
    yield from _doc(kind)
    rule = getattr(kind, "rule", None)
    if isinstance(rule, str):
        yield f"A result calls it {rule}."
    yield f"In a program: from secondsight.lang.errors import {kind.__name__}"
    yield f"Source: {_place(kind)}"


def _tried() -> Iterator[Thing]:
    """The scenarios of the adversaries, as traces name them (`munmap: two engines`), and what stands behind the colon."""
    from secondsight.contract import EVERY_ADVERSARY

    parts: dict[str, list[Scenario]] = {}
    for adversary in EVERY_ADVERSARY.values():
        for one in adversary.scenarios:
            head, colon, part = one.name.partition(": ")
            if colon:
                parts.setdefault(part, []).append(one)
                yield Thing("scenarios", one.name, adversary.summary, functools.partial(_of_adversary, adversary.name, one), (f"{head}:{part}",))
    for part, several in parts.items():
        yield Thing("scenarios", part, several[0].name, functools.partial(_part, part, several))


def _of_adversary(adversary: str, scenario: Scenario) -> Iterator[str]:
    yield f"A scenario of the adversary {adversary}, which says more: secondsight explain {adversary}"
    yield _operations(scenario)


def _part(part: str, scenarios: list[Scenario]) -> Iterator[str]:
    of = sorted({one.name.partition(": ")[0] for one in scenarios})
    yield f"What the device or the process does beside the adversary. {len(of)} have it: {', '.join(of)}."
    yield f"What {scenarios[0].name!r} does:"
    yield _operations(scenarios[0])


def _paragraphs(*texts: str) -> Iterator[str]:
    yield from texts


KINDS: Mapping[str, Callable[[], Iterator[Thing]]] = {
    "adversaries": _adversaries,
    "rules": _rules,
    "bounds": _bounds,
    "tables": _tables,
    "functions": _functions,
    "records": _records,
    "kernels": _kernels,
    "operations": _operations_there_are,
    "scenarios": _scenarios,
    "terms": _terms,
    "errors": _errors,
}
"""Every kind of thing that can be listed and explained."""
