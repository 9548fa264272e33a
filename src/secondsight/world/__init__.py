"""Scenarios on the model: what each operation does there, the machine that a scenario needs, its outcomes, forced runs.

`operations/` declares every operation, with what it does on the model; `interpreter` runs rows of them; `encoder` makes the rows of a
scenario, `sizes` the bounds of its machine, `model` its program. `settled` and `forced` are its runs under holds.
"""
