"""Benchmarks of batchq against peers, floors and ceilings, run in turn on one machine.

`python -m benchmarks run` measures and writes JSON; `python -m benchmarks report` turns
the newest JSON into the tables and plots of `docs/benchmarks`.
"""
