"""The laws: whatever `interpreter` and `explore` say of a program, every executor and every search of secondsight must say.

`check_batch` takes a number of programs in one module, compiled together. A law that does not hold is an `Unequal` with its name and the
program's number; anything else that is raised is a failure too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from attack.description import Description, walk
from attack.draw_items import tells_apart
from attack.draw_sequences import counts
from attack.explore import Graph, Judgement, explore, has_cycle, judge, livelocked, shortest_round
from attack.interpreter import Interpreter, Way, reads_lock
from attack.locks import FAIR
from attack.projection import projected, projected_values, seen_by, values_of
from attack.source import Text, module_of, program_of
from attack.values import reads
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.plain import PlainRun, WouldBlock, replay
from secondsight.lang.plain import compare as compare_plain
from secondsight.lang.program import Program
from secondsight.lang.records import Record
from secondsight.lang.reference import Reference, Successor
from secondsight.lang.types import RecordType
from secondsight.search import Limits, Request, Result, Trace, Verdict, breadth_first
from secondsight.search.cluster import search_by
from secondsight.search.cluster_levels import LocalHosts
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_native, reduced_search
from secondsight.search.strategy import DepthFirst, Preemptions

__all__ = ["Failure", "Tally", "Unequal", "check_batch", "has_compiler"]

STATES = 1500
"""States of the largest program that is compared."""


class Unequal(Exception):
    """A law does not hold."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


def has_compiler() -> bool:
    """Whether native code can be made."""
    try:
        compiler()
    except CompilerMissing:
        return False
    return True


def equal(law: str, here: Any, there: Any, what: str = "") -> None:
    """`here`: by the interpreter; `there`: by secondsight."""
    if here != there:
        raise Unequal(law, f"{what} {shown(here)} by the interpreter, {shown(there)} by secondsight".strip())


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) < 400 else text[:400] + "..."


@dataclass
class Subject:
    """One program of a batch, and what the interpreter says of it."""

    number: int
    description: Description
    graph: Graph
    judgement: Judgement
    program: Program
    alone: Program
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def watch(self) -> tuple[int, int]:
        """The whole shared state."""
        return 1, self.program.layout.shared_size

    @property
    def cells(self) -> tuple[int, int]:
        """The numbers `a`, `b` and `c`: what names no item, so that items can be renamed."""
        return self.around("a", "b", "c")

    @property
    def slots(self) -> tuple[int, int]:
        """The two references to items."""
        return self.around("slot0", "slot1")

    def around(self, *names: str) -> tuple[int, int]:
        """The part of a state in which those of the world's fields lie that are part of it; some byte if none is."""
        at, world = self.world
        slots = [self.program.layout.field(world, name) for name in names if not self.program.layout.is_constant(world, name)]
        return (at + min(s.at for s in slots), at + max(s.at + s.width for s in slots)) if slots else (at, at + 1)

    @property
    def world(self) -> tuple[int, type[Record]]:
        """Where the world lies, and its class."""
        layout = self.program.layout
        [declared] = [d for d in layout.declarations if d.name.endswith("world")]
        assert isinstance(declared.kind, RecordType)
        return layout.base[declared], declared.kind.record


@dataclass
class Tally:
    """What was compared: programs by what they are, searches, states; and the first program for which a law failed."""

    programs: int = 0
    states: int = 0
    searches: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def count(self, where: dict[str, int], what: str) -> None:
        """One more."""
        where[what] = where.get(what, 0) + 1


class Failure(Exception):
    """A program for which a law does not hold."""

    def __init__(self, description: Description, law: str, message: str) -> None:
        super().__init__(message)
        self.description, self.law, self.message = description, law, message


def check_batch(
    descriptions: Sequence[Description], seed: int, native: bool, tally: Tally | None = None, only: str | None = None
) -> Tally:
    """Every law on every program of a batch; raises `Failure` for the first that does not hold.

    In native code programs of a batch share all that is compiled, as those of one driver do. `only`: of the native laws this one,
    tried in every way.
    """
    tally = tally or Tally()
    known = []
    for description in descriptions:
        assert description.world == descriptions[0].world
        interpreter = Interpreter(description)
        graph = explore(interpreter, STATES) if not interpreter.start_error else None
        if graph is None or not graph.whole:
            tally.count(tally.skipped, "fails before its first step" if graph is None else "large")
        else:
            known.append((description, graph))
    if not known:
        return tally
    text = Text([d for d, _ in known])
    # One program that tells items apart would do so for all that it shares its code with.
    room = [i for i, (d, _) in enumerate(known) if not (d.world.interchangeable and tells_apart(d))]
    # In code that is shared each function may be that of several threads.
    queues = FAIR and any(reads_lock(known[i][0], thread.body) for i in room for thread in known[i][0].threads)
    with module_of(text.text) as module:
        chance = random.Random(seed)
        for number, (description, graph) in enumerate(known):
            try:
                alone = program_of(module, number, description)
                subject = Subject(number, description, graph, judge(graph), alone, alone)
                check(subject, text, chance, tally)
                if native and number in room and len(known) > 1:
                    subject = shared_subject(subject, program_of(module, number, description, room), queues)
                if native and (number in room or len(known) == 1 or chance.random() < 0.25):
                    check_native(subject, chance, only, tally)
            except Exception as error:
                law = error.law if isinstance(error, Unequal) else f"raised {type(error).__name__}"
                raise Failure(description, law, str(error) if isinstance(error, Unequal) else f"{law}: {error}") from error
            tally.programs += 1
            tally.states += len(graph.states)
            for kind in subject.judgement.rules or {"holds": set()}:
                tally.count(tally.kinds, kind)
    return tally


def shared_subject(subject: Subject, program: Program, queues: bool) -> Subject:
    """The same program with code that it shares with others: there writers may stand in queues that nobody sees."""
    if queues == subject.graph.interpreter.queues:
        return replace(subject, program=program)
    graph = explore(Interpreter(subject.description, queues), 4 * STATES)
    # Its traces have steps into a queue: they are replayed in a program that has queues too.
    other = Subject(subject.number, subject.description, graph, judge(graph), program, program)
    if graph.whole:
        equal("queues", sorted(subject.judgement.rules), sorted(other.judgement.rules), "with a queue that nobody sees:")
    reference = Reference(program)
    todo = [reference.initial]
    seen = set(todo)
    for state in todo:
        for successor in reference.successors(state):
            if successor.state is not None and successor.state not in seen:
                seen.add(successor.state)
                todo.append(successor.state)
    other.sizes["theirs"] = len(todo)
    if len(todo) > len(graph.states) and not may_have_more(subject.description):
        equal("number of states", len(graph.states), len(todo), "with a queue that nobody sees:")
    return other


def check(subject: Subject, text: Text, chance: random.Random, tally: Tally) -> None:
    """The laws of plain execution and of the reference."""
    reference = Reference(subject.program)
    same_steps(subject, text, reference)
    plain_walks(subject, reference, chance)
    result = breadth_first(reference, Request(lock_order=False, livelock=True, watch=subject.watch))
    assert_says(subject, "reference", result)
    tally.searches += 1
    if subject.judgement.every == {"deadlock"}:  # nobody asks for it: then only those that go round are wrong
        unasked = breadth_first(reference, Request(deadlock=False, lock_order=False, livelock=True))
        equal("deadlocks not asked for", "livelock" if livelocked(subject.graph) else "holds", told(unasked))
    if not subject.judgement.every:
        ordered = breadth_first(reference, Request(lock_order=True))
        assert_ordered(subject, "order of locks, reference", ordered)
        tally.searches += 1


REDUCTIONS = {"merge": Reductions(True, False), "symmetry": Reductions(False, True), "merge+symmetry": Reductions()}


def check_native(subject: Subject, chance: random.Random, only: str | None, tally: Tally) -> None:
    """The laws of native code, without reductions and with some."""
    program = subject.program
    plain = Native(program)
    if only is not None and only.partition(",")[0] not in (*REDUCTIONS, *OTHERS, "native"):
        only = None
    if only is None or not only.startswith(tuple(REDUCTIONS)):
        reference = Reference(program)
        equal("native, initial state", reference.initial, plain.initial)
        todo = [reference.initial]
        for state in todo:
            known = [(s.thread, s.choices, s.state, rule_of(s)) for s in reference.successors(state)]
            equal("native, steps", known, [(s.thread, s.choices, s.state, rule_of(s)) for s in plain.successors(state)])
            after = [s for _, _, s, _ in known if s is not None and s not in todo]
            todo += after if only else after[:2] if len(todo) < 40 else []
        for workers, exact in ((1, False), (2, True)) if only else ((chance.choice([1, 1, 2]), chance.random() < 0.3),):
            found = native_search(plain, Request(workers=workers, exact=exact, lock_order=False, livelock=True, watch=subject.watch))
            assert_says(subject, "native", found)
            kept = native_search(plain, Request(workers=workers, lock_order=False, livelock=True, watch=subject.watch), log_edges=False)
            equal("native, without a log of edges", [told(found), found.states], [told(kept), kept.states])
            tally.searches += 1
    for law in [only] * 12 if only in OTHERS else [] if only else others_of(chance):
        OTHERS[law](subject, plain, chance)
        tally.searches += 1
    # Renaming makes another library: most programs do without it.
    renames = subject.description.world.interchangeable or counts(subject.description) or has_equal(subject.description)
    drawn = chance.choice(["merge", "merge+symmetry", "merge+symmetry"] if renames else ["merge"])
    for name in [drawn] if only is None else [n for n in REDUCTIONS if only.partition(",")[0] == n]:
        some = subject.watch if name == "merge" else subject.cells
        for watch in (some, subject.watch, subject.slots, None) if only else (chance.choice([some, some, some, subject.watch, subject.slots, None]),):
            for workers in (1, 2) if only else (chance.choice([1, 1, 2]),):
                check_reduced(subject, name, watch, workers, tally)


def check_reduced(subject: Subject, name: str, watch: tuple[int, int] | None, workers: int, tally: Tally) -> None:
    """The laws of the reductions."""
    options: dict[str, Any] = {"workers": workers, "livelock": True, "watch": watch}
    reduced = reduced_search(subject.program, Request(reductions=REDUCTIONS[name], lock_order=False, **options))
    assert_says(subject, name, reduced.result, watch)
    tally.searches += 1
    if reduced.result.verdict is Verdict.HOLDS and has_equal(subject.description):
        symmetry = reduced_native(subject.program, REDUCTIONS[name], watch)[0].symmetry
        if symmetry is not None and symmetry.equal is not None:
            tally.count(tally.kinds, "holds, equal threads renamed")
    merged, rules = reduced.merged, subject.judgement.rules
    if merged is not None and merged.reason != "stale":
        # A livelock that only the merged search sees is a reason to look, no more. What is really wrong it must see.
        seen = merged.verdict is not Verdict.HOLDS
        if seen != bool(rules) and not (merged.violation is not None and merged.violation.rule == "livelock"):
            raise Unequal(f"{name}, its own search", f"{sorted(rules)} is to be told, but the merged search says {told(merged)}")
    if reduced.result.verdict is Verdict.HOLDS:
        for made in reduced.result.reduced:
            tally.count(tally.kinds, f"holds, reduced by {made}")
    if name != "merge" and (counts(subject.description) or has_equal(subject.description)) and not subject.description.world.interchangeable:
        alike(subject, name, watch)
    if not subject.judgement.every:
        ordered = reduced_search(subject.program, Request(reductions=REDUCTIONS[name], lock_order=True, workers=workers))
        assert_ordered(subject, f"{name}, order of locks", ordered.result)
        tally.searches += 1


def has_equal(description: Description) -> bool:
    """Whether two threads do the same."""
    done = [(thread.body, thread.daemon) for thread in description.threads]
    return any(one in done[:i] for i, one in enumerate(done))


def alike(subject: Subject, name: str, watch: tuple[int, int] | None, most: int = 1000) -> None:
    """Every two states that a search renames to one take the same steps, to states that it renames to one."""
    native, _ = reduced_native(subject.program, REDUCTIONS[name], watch)
    if native.symmetry is None:
        return
    equal_threads = native.symmetry.threads
    classes = range(len(subject.program.threads)) if equal_threads is None else equal_threads.classes
    reference = Reference(subject.program)
    known: dict[bytes, Any] = {}
    todo = [reference.initial]
    seen = set(todo)
    for state in todo:
        after = [(s.thread, s.choices, s.state, rule_of(s)) for s in reference.successors(state)]
        ways = frozenset((classes[thread], choices, to and native.form(to), rule) for thread, choices, to, rule in after)
        equal(f"{name}, states that are alike", known.setdefault(native.form(state), ways), ways, "the steps from one:")
        new = {to for _, _, to, _ in after if to is not None} - seen if len(seen) < most else set()
        seen |= new
        todo += sorted(new)


# Searches in other ways.


def cut_short(subject: Subject, plain: Native, chance: random.Random) -> None:
    """A search that may see fewer states than there are never says that all is well, whoever makes it."""
    most = chance.randrange(1, max(2, subject.sizes["theirs"]))
    limits = Limits(states=most)
    options: dict[str, Any] = {"lock_order": False, "livelock": True}
    for law, result in (
        ("reference", breadth_first(Reference(subject.program), Request(limits=limits, **options))),
        ("native", native_search(plain, Request(limits=limits, workers=chance.choice([1, 2]), **options))),
        ("merge", reduced_search(subject.program, Request(reductions=REDUCTIONS["merge"], limits=limits, **options)).result),
    ):
        if result.verdict is Verdict.HOLDS and (subject.judgement.rules or (not result.reduced and most < subject.sizes["theirs"])):
            raise Unequal("cut short", f"{law}: holds, after at most {most} of {subject.sizes['theirs']} states")
        if result.violation is not None and result.violation.rule not in {*subject.judgement.every, *subject.judgement.rules}:
            raise Unequal("cut short", f"{law}: {result.violation.rule}, after at most {most} states")


def depth_first(subject: Subject, plain: Native, chance: random.Random) -> None:
    """Depth first a rule is broken where breadth first one is."""
    merge, livelock = chance.random() < 0.5, chance.random() < 0.5
    options: dict[str, Any] = {"lock_order": False, "watch": subject.watch, "strategy": DepthFirst(), "workers": 1, "livelock": livelock}
    if merge:
        result = reduced_search(subject.program, Request(reductions=REDUCTIONS["merge"], **options)).result
    else:
        result = native_search(plain, Request(**options))
    wanted = subject.judgement.every or (subject.judgement.rules if livelock else set()) or {"holds"}
    if told(result) not in wanted:
        raise Unequal("depth first", f"one of {sorted(wanted)} is to be told, but it is {told(result)}")
    if result.verdict is Verdict.HOLDS:
        equal("depth first", len(subject.judgement.outcomes), len(result.outcomes), "outcomes:")
        if not merge:
            equal("depth first", subject.sizes["theirs"], result.states, "states:")
    elif result.violation is not None:
        assert_trace(subject, "depth first", result.violation.rule, result.violation.trace, result.violation.message)


def collected(subject: Subject, plain: Native, chance: random.Random) -> None:
    """Every rule that is broken anywhere is found, if all are wanted."""
    if subject.judgement.every & FAILURES:
        return
    result = native_search(plain, Request(lock_order=False, collect=True, workers=chance.choice([1, 2])))
    equal("collected", sorted(subject.judgement.every), sorted(v.rule for v in result.violations), "rules:")
    for violation in result.violations:
        assert_trace(subject, "collected", violation.rule, violation.trace, violation.message)


def by_members(subject: Subject, plain: Native, chance: random.Random) -> None:
    """The states shared out to members of a cluster, in this process; with steps merged, or not."""
    members, workers, batch = chance.choice([1, 2, 3]), chance.choice([1, 2]), chance.choice([300, 1 << 16])

    def by(native: Native, request: Request) -> Result:
        hosts = LocalHosts(members, workers)
        try:
            return search_by(hosts, native, request, batch)[0]  # type: ignore[arg-type]
        finally:
            hosts.end()

    wanted = REDUCTIONS["merge"] if chance.random() < 0.6 else Reductions.none()
    exact = chance.random() < 0.3
    request = Request(reductions=wanted, watch=subject.watch, lock_order=False, livelock=True, exact=exact)
    result = reduced_search(subject.program, request, by).result
    assert_says(subject, "cluster", result)


def by_preemptions(subject: Subject, plain: Native, chance: random.Random) -> None:
    """With a bound on preemptions the same is told whether records, numbers and threads are renamed or not."""
    most = chance.choice([0, 1, 2, 3, 100])
    options: dict[str, Any] = {"lock_order": False, "watch": subject.watch, "strategy": Preemptions(most)}
    known = native_search(plain, Request(workers=1, **options))
    found = reduced_search(subject.program, Request(workers=chance.choice([1, 2]), **options)).result
    if (known.error is None) and (found.error is None):
        equal("preemptions", [known.verdict, known.reason, known.preemptions], [found.verdict, found.reason, found.preemptions], f"with {most}:")
        if known.verdict is not Verdict.BROKEN:
            equal("preemptions", len(known.outcomes), len(found.outcomes), f"outcomes with {most}:")
    wanted = set(subject.judgement.every) - {"livelock"} or {"holds"}
    for result in (known, found):
        if result.verdict is not Verdict.NOT_FINISHED and told(result) not in wanted:
            raise Unequal("preemptions", f"one of {sorted(wanted)} is to be told, but it is {told(result)}")
        if result.violation is not None:
            assert_trace(subject, "preemptions", result.violation.rule, result.violation.trace, result.violation.message)


FAILURES = {"left-range", "bad-index", "out-of-records", "model-error"}
"""What is no broken rule: the model is wrong, or its bounds are too small."""
OTHERS = {"cut short": cut_short, "depth first": depth_first, "collected": collected, "cluster": by_members, "preemptions": by_preemptions}


def others_of(chance: random.Random) -> list[str]:
    """Which of these laws a program is tried with: what takes long seldom."""
    return [chance.choice(["cut short", "depth first", "collected"]), *(["cluster"] if chance.random() < 0.1 else []), *(["preemptions"] if chance.random() < 0.1 else [])]


def assert_ordered(subject: Subject, law: str, result: Result) -> None:
    """Two orders of locks are told where nothing else is wrong."""
    wanted = has_cycle(subject.judgement.edges)
    equal(law, wanted, result.violation is not None and result.violation.rule == "lock-order", "two orders:")


# Step by step.

def same_steps(subject: Subject, text: Text, reference: Reference) -> None:
    """Both graphs at once: from every pair of states the same steps, with the same choices, lead to pairs, or break the same rule."""
    program, graph = subject.program, subject.graph
    number = {state: i for i, state in enumerate(graph.states)}
    begin = (reference.initial, graph.interpreter.initial)
    pairs, todo = {begin}, [begin]
    for there, here in todo:
        values, lines = projected(subject.graph, text, here)
        others, places = seen_by(program, reference, there)
        unequal = {k: (v, others.get(k)) for k, v in values.items() if others.get(k) != v}
        equal("shared state", {}, unequal, "values that differ:")
        equal("step boundaries", lines, places, "the threads stand at lines")
        ways = {(w.thread, w.choices): w for w in graph.ways[number[here]]}
        found = {(s.thread, s.choices): s for s in reference.successors(there)}
        equal("steps", sorted(ways), sorted(found), f"with the threads at lines {lines}:")
        for label, way in ways.items():
            successor = found[label]
            equal("rules", way.rule, rule_of(successor), f"with the threads at lines {lines}, the step {label} breaks")
            if way.state is not None and successor.state is not None:
                pair = (successor.state, way.state)
                if pair not in pairs:
                    pairs.add(pair)
                    todo.append(pair)
    subject.sizes["pairs"] = len(pairs)
    subject.sizes["theirs"] = len({there for there, _ in pairs})
    # States that nothing tells apart may be one there: every pair was compared. More than ours they are for two reasons only.
    if subject.sizes["theirs"] > len(graph.states) and not may_have_more(subject.description):
        equal("number of states", len(graph.states), subject.sizes["theirs"])


def may_have_more(description: Description) -> bool:
    """Whether secondsight may have more states, though nothing is another for it.

    A lock is taken by `with` under a name that locals are part of, which stay known until it is released; or a jump leads out of a
    `with`, and each has its own release.
    """
    nodes = [node for body in description.bodies() for line in body for node in walk(line)]
    return any(
        n[0] == "with" and (reads(n[2]) or any(m[0] in ("break", "continue", "return") for line in n[3] for m in walk(line)))
        for n in nodes
    )


def rule_of(successor: Successor | Way) -> str:
    """The rule that a step breaks, or the kind of its failure."""
    if isinstance(successor, Way):
        return successor.rule
    return "" if successor.error is None else str(getattr(successor.error, "rule", type(successor.error).__name__))


def plain_walks(subject: Subject, reference: Reference, chance: random.Random) -> None:
    """Some schedules in plain execution, compared with what both others say."""
    graph = subject.graph
    for _ in range(2):
        number, there = 0, reference.initial
        with PlainRun(subject.alone) as run:
            compare_plain(run, there)
            for _ in range(25):
                if not graph.ways[number]:
                    break
                place = chance.randrange(len(graph.ways[number]))
                way = graph.ways[number][place]
                try:
                    done = run.step(way.thread, way.choices)
                except WouldBlock:
                    raise Unequal("plain", f"thread {way.thread} blocks in plain execution") from None
                equal("plain", way.rule, "" if done.error is None else getattr(done.error, "rule", "?"), "a step breaks")
                if way.state is None:
                    break
                number = graph.targets[number][place]
                [there] = [s.state for s in reference.thread_successors(there, way.thread) if s.choices == way.choices and s.state]
                compare_plain(run, there)


# Verdicts.


WHOLE = (1, -1)


def assert_says(subject: Subject, law: str, result: Result, watch: tuple[int, int] | None = WHOLE) -> None:
    """A search's result is what the interpreter's graph says. `watch`: what was watched of final states."""
    judgement, graph = subject.judgement, subject.graph
    rule = told(result)
    if not judgement.rules:
        equal(law, "holds", rule, "the verdict:")
        if watch == subject.cells:
            cells = {repr(outcome[:3]) for outcome in judgement.outcomes}
            (at, world), before = subject.world, bytes(watch[0])
            parts = [subject.program.layout.reader(world, name) for name in ("a", "b", "c")]
            found = {repr(tuple(read(before + o, at) for read in parts)) for o in result.outcomes}
            equal(law, sorted(cells), sorted(found), "outcomes:")
        elif watch == subject.slots:
            before, after = bytes(watch[0]), bytes(subject.program.size - watch[1])
            keys = graph.interpreter.keys
            first, second = keys.index("slot0"), keys.index("slot1")
            held = {repr([None if o[k] is None else f"items[{o[k]}]" for k in (first, second)]) for o in judgement.outcomes}
            named = [dict(values_of(subject.program, before + outcome + after)) for outcome in result.outcomes]
            equal(law, sorted(held), sorted({repr([n["world.slot0"], n["world.slot1"]]) for n in named}), "outcomes:")
        elif watch is not None:
            rest = bytes(subject.program.size - subject.program.layout.shared_size)
            all_theirs = {frozenset(values_of(subject.program, bytes(1) + outcome + rest)) for outcome in result.outcomes}
            all_ours = {frozenset(projected_values(subject.graph, shared)) for shared in judgement.outcomes}
            equal(law, 0, len(all_ours ^ all_theirs), "outcomes that only one has:")
        if not result.reduced:
            equal(law, subject.sizes["theirs"], result.states, "states:")
            if subject.sizes["theirs"] == len(graph.states):
                equal(law, max(graph.depth), result.depth, "depth:")
        elif result.states > len(graph.states):
            raise Unequal(law, f"{result.states} states with reductions, {len(graph.states)} without")
        return
    if rule not in judgement.rules:
        raise Unequal(law, f"one of {sorted(judgement.rules)} is to be told, but it is {rule}")
    trace = result.violation.trace if result.violation is not None else result.error_trace
    assert trace is not None
    assert_trace(subject, law, rule, trace, result.violation.message if result.violation is not None else "")
    lengths = set(judgement.rules[rule])
    if rule == "livelock":
        assert result.violation is not None
        equal(law, min(lengths), len(trace) - result.violation.loop, "the way to the loop has steps:")
        rounds = subject.sizes.get("round")
        if rounds is None:
            states = livelocked(graph)
            nearest = [n for n in states if graph.depth[n] == min(lengths)]
            rounds = subject.sizes["round"] = min(shortest_round(graph, n, states) for n in nearest)
            subject.sizes["longest round"] = max(shortest_round(graph, n, states) for n in nearest)
        if rounds and not rounds <= result.violation.loop <= subject.sizes["longest round"]:
            raise Unequal(law, f"a shortest loop has {rounds} steps, that of the trace {result.violation.loop}")
    elif result.shortest and len(trace) not in lengths:
        raise Unequal(law, f"a shortest trace to {rule} has {sorted(lengths)} steps, this one {len(trace)}")


def assert_trace(subject: Subject, law: str, rule: str, trace: Trace, message: str = "") -> None:
    """A trace happens in plain execution, and ends where it should; the message of a deadlock names those that wait."""
    steps = replay(subject.alone, trace.schedule, trace.states if law == "reference" else ())
    if rule not in ("deadlock", "livelock"):
        equal(law, rule, getattr(steps[-1].error, "rule", "nothing") if steps else "nothing", "the trace ends with")
        return
    equal(law, len(trace.steps), len(trace.states), "the trace has as many states as steps:")
    # The interpreter goes the same way.
    graph, number = subject.graph, 0
    for step in trace.steps:
        ways = {(w.thread, w.choices): to for w, to in zip(graph.ways[number], graph.targets[number], strict=True)}
        number = ways.get((step.thread, step.choices), -1)
        if number < 0:
            raise Unequal(law, f"the trace has a step {step} that there is not")
    if rule == "deadlock":
        equal(law, True, not graph.ways[number] and not graph.interpreter.is_final(graph.states[number]), "the trace ends in a deadlock:")
        for thread in range(len(subject.alone.threads)):
            equal(law, thread in graph.alive(number), f"t{thread} in " in message, f"the message names thread {thread}:")


def told(result: Result) -> str:
    """The verdict, or the rule."""
    if result.violation is not None:
        return result.violation.rule
    if result.error is not None:
        return str(getattr(result.error, "rule", type(result.error).__name__))
    return "holds" if result.verdict is Verdict.HOLDS else f"not finished ({result.reason})"
