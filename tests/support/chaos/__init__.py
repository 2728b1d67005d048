"""Chaos: real processes on a real Apache Kafka, blows at times that a seed decides, then an audit.

`make chaos` plays every scenario, `make chaos SEED=7 ARGS="--only zombie"` one of them again. What
has to hold is not asked of the services: it is read out of the log and out of what the agents did
(`audit.py`), after the dust has settled.
"""
