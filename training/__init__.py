"""Training of planner and reflector from token ids, masks, weights and log-probabilities.

It knows no environment, no store and no page. Episodes become samples (`samples.py`), samples get advantages and
weights (`credit.py`), packed sequences go through the model (`packing.py`, `attention.py`, `forward.py`), a loss adds
weighted terms (`losses.py`), and one loop serves every method (`loop.py`, `retroformer.py`).
"""
