"""The planner: turns requests into validated plans with a language model.

Consumes `requests`; publishes `plan_created` or `plan_rejected` on `events`. It knows the agents
from the registry, and nobody asks it anything.
"""
