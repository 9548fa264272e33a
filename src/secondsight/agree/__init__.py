"""Agreement between the model and real kernels, measured: scenarios that nobody wrote, run on both, compared.

`generate.py` draws the scenarios, `judge.py` asks the model and compares, `campaign.py` runs thousands and keeps what was
found in `store.py`'s file; `shrink.py` makes a disagreement small and `source.py` prints it as a program.
"""
