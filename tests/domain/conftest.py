"""Property tests draw the same examples on every run and machine, and none fails for being slow on a busy one."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
