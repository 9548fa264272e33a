"""A claim: an interleaving as people put it into mails, matched to the model."""

from secondsight.claims.ask import Subject, Tried, ask, ask_of, not_understood, subject_of
from secondsight.claims.text import ClaimedLine, ClaimText, read_claim
from secondsight.claims.told import Possible, StopsAt

__all__ = ["ClaimText", "ClaimedLine", "Possible", "StopsAt", "Subject", "Tried", "ask", "ask_of", "not_understood", "read_claim", "subject_of"]
