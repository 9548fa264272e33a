"""Verdicts and traces for people and for machines: the mail form, tables, JSON."""

from secondsight.report.trace import mail, trace_from_json, trace_to_json

__all__ = ["mail", "trace_from_json", "trace_to_json"]
