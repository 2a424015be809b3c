"""Runs under the peer's interpreter, where nothing of this project is: requests on standard input, times on output.

`files`: its documented offline mode, which reads the folder for each query. `parsed`: what its online mode comes to
after a reload, the items parsed before; that is set by hand, because a reload goes to the network.
"""

import json
import os
import sys
import time

import gpuhunt
from gpuhunt._internal import catalog as internal


def main():
    given = json.load(sys.stdin)
    files = gpuhunt.Catalog(auto_reload=False)
    parsed = gpuhunt.Catalog(auto_reload=False)
    for provider in internal.OFFLINE_PROVIDERS:
        items = files.query(provider=provider) if provider in given["providers"] else []
        parsed.catalog[provider] = internal.ProviderCatalog(version="bench", items=items)
    parsed.loaded_at = time.monotonic()
    answer = {"files": slowest(files, given, min(3, given["rounds"]))}
    del os.environ["GPUHUNT_CATALOG_DIR"]
    answer["found"] = [len(ask(parsed, given, query)) for query in given["queries"]]
    answer["parsed"] = slowest(parsed, given, given["rounds"])
    sys.stdout.write(json.dumps(answer) + "\n")


def slowest(catalog, given, rounds):
    return [max(millis(catalog, given, query) for query in given["queries"]) for _ in range(rounds)]


def ask(catalog, given, query):
    return catalog.query(provider=given["providers"], **query)


def millis(catalog, given, query):
    started = time.perf_counter()
    ask(catalog, given, query)
    return (time.perf_counter() - started) * 1e3


main()
