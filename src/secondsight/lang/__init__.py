"""The protocol language: records, bounded integers, steps; see docs/language.md."""

from secondsight.lang.errors import (
    BadIndex,
    LangError,
    LeftRange,
    ModelError,
    NoneFollowed,
    OutOfRecords,
    Position,
    Refused,
    RuleBroken,
)
from secondsight.lang.locks import Mutex, RwLock, SpinLock
from secondsight.lang.records import Array, Const, Machine, Pool, Record, Value, const, pool, shared, shared_array
from secondsight.lang.types import I16, U8, U16, Bounds, Char, Errno, Ref
from secondsight.lang.verbs import atomic, choose, count, current, out_of_records, require, rule, tracepoint, wait_until

__all__ = [
    "I16",
    "U8",
    "U16",
    "Array",
    "BadIndex",
    "Bounds",
    "Char",
    "Const",
    "Errno",
    "LangError",
    "LeftRange",
    "Machine",
    "ModelError",
    "Mutex",
    "NoneFollowed",
    "OutOfRecords",
    "Pool",
    "Position",
    "Record",
    "Ref",
    "Refused",
    "RuleBroken",
    "RwLock",
    "SpinLock",
    "Value",
    "atomic",
    "choose",
    "const",
    "count",
    "current",
    "out_of_records",
    "pool",
    "require",
    "rule",
    "shared",
    "shared_array",
    "tracepoint",
    "wait_until",
]
