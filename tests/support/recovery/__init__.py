"""A world in miniature around the real core: a log, agents, coordinators that crash, zombies."""
