"""An attack on secondsight's own verdicts: generated programs against an interpreter that shares nothing with it but the
documents, searches that are cut short at any moment, and the executors themselves with one thing changed. `make attack`."""
