"""Verdicts and traces for people and for machines: the mail form, tables, JSON."""

from secondsight.report.form import MAIL, WIDEST, Form
from secondsight.report.rests import rests_to_json, told_rests
from secondsight.report.token import replay_command, token_of, violation_of
from secondsight.report.trace import SCHEMA, letter, mail, mail_of, result_to_json, trace_from_json, trace_to_json

__all__ = [
    "MAIL", "SCHEMA", "WIDEST", "Form", "letter", "mail", "mail_of", "replay_command", "rests_to_json", "result_to_json", "told_rests", "token_of", "trace_from_json", "trace_to_json",
    "violation_of",
]  # fmt: skip
