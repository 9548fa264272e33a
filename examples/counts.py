# counts.py
from secondsight.lang import U8, Machine, Record, shared
from secondsight.lang.program import Thread, build


class Counter(Record):
    n: U8


counter = shared(Counter)


def adds() -> None:
    seen = counter.n
    counter.n = seen + 1


program = build(Machine({}), [Thread("one", adds), Thread("two", adds)])
