"""What a lab's host has its Python believe: a version, a clock that is off, a missing module."""

import sys
import time

VERSION = None
SKEW_S = 0
HAS_TLS = True

if VERSION:
    sys.version_info = type("version_info", (tuple,), {
        "major": VERSION[0], "minor": VERSION[1], "micro": VERSION[2], "releaselevel": "final", "serial": 0,
    })((*VERSION, "final", 0))  # fmt: skip
    sys.version = "{}.{}.{} (default, Jan  1 2024, 00:00:00) [GCC]".format(*VERSION)
    sys.hexversion = VERSION[0] << 24 | VERSION[1] << 16 | VERSION[2] << 8 | 0xF0
if SKEW_S:
    _time = time.time
    time.time = lambda: _time() + SKEW_S
if not HAS_TLS:
    sys.modules["ssl"] = None
