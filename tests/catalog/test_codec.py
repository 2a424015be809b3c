"""A catalog is the same after its trip through bytes, and what is no catalog is refused with a reason."""

import gzip
import json
from itertools import islice

import pytest
from hypothesis import given

from chalicelib.catalog.codec import VERSION, CatalogError, pack, unpack
from chalicelib.domain.matching import order
from chalicelib.domain.policies import RUN
from tests.builders import NOW, ago, make_gpu, make_offer, make_policies
from tests.domain.test_offer_index import MARKETS

ANY = make_policies({"allow_gpu": True}, defaults=RUN, cpu=1, memory="1GB")
OFFERS = [
    make_offer(instance_type="b", price=2_000_000, priced_at=None, zone="bay-a"),
    make_offer(instance_type="a", price=1_000_000, gpus=(make_gpu(), make_gpu(name="T4", vendor="amd")), spot=True),
    make_offer(instance_type="c", price=3_000_000, priced_at=ago(days=1), availability="unknown"),
]


@given(MARKETS)
def test_what_was_packed_comes_out_sorted(offers):
    found = unpack(pack(offers, fetched_at=NOW, source="aws"))
    assert [found.index.offer(position) for position in range(len(found.index))] == sorted(offers, key=order)
    assert (found.fetched_at, found.source) == (NOW, "aws")


def test_the_same_offers_are_the_same_bytes_in_whatever_order_they_come():
    assert pack(OFFERS, fetched_at=NOW, source="x") == pack(OFFERS[::-1], fetched_at=NOW, source="x")


def test_an_offer_takes_some_bytes_only():
    offers = [
        make_offer(instance_type=f"type-{n % 700}", region=f"r{n % 30}", price=n * 7 % 9973) for n in range(5_000)
    ]
    assert len(pack(offers, fetched_at=NOW, source="x")) < 15 * len(offers)


def written(**changes):
    """The document of `OFFERS` with changes; None takes a key away."""
    document = json.loads(gzip.decompress(pack(OFFERS, fetched_at=NOW, source="x"))) | changes
    return gzip.compress(json.dumps({key: each for key, each in document.items() if each is not None}).encode())


def columns(**changes):
    return json.loads(gzip.decompress(pack(OFFERS, fetched_at=NOW, source="x")))["columns"] | changes


def test_the_unchanged_document_is_read():
    assert len(list(islice(unpack(written()).index.matches(ANY), 9))) == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no gzip over JSON"),
        (b"no catalog at all", "no gzip over JSON"),
        (pack(OFFERS, fetched_at=NOW, source="x")[:-20], "no gzip over JSON"),
        (gzip.compress(b"{", mtime=0), "no gzip over JSON"),
        (gzip.compress(b"\xff", mtime=0), "no gzip over JSON"),
        (gzip.compress(b"[]", mtime=0), "version None"),
        (written(version=VERSION + 1), f"version {VERSION + 1}, not {VERSION}"),
        (written(prices=None), "cannot be read: KeyError"),
        (written(prices=[1]), "does not fit its 1 offers"),
        (written(prices=[3, 2, 1]), "not sorted"),
        (written(prices=[1, 2, "3"]), "not sorted"),
        (written(fetched_at="yesterday"), "cannot be read"),
        (written(fetched_at="2026-11-22T00:00:00"), "no zone"),
        (written(columns=columns(region=[["a", "b"], [0, 1, 2]])), "column region"),
        (written(columns=columns(region=[["a", "b"], [0, -1, 1]])), "column region"),
        (written(columns=columns(region=[["a", "b"], [0, 1]])), "column region"),
        (written(columns=columns(region=[["a", "b"], [0, 1, "1"]])), "column region"),
        (written(columns=columns(region="x")), "cannot be read"),
        (written(columns=columns(gpus=[[[["A100"]]], None])), "cannot be read"),
        (written(columns=columns(cpus=[["8"], None])), "column cpus cannot have '8'"),
        (written(columns=columns(cpus=[[-8], None])), "column cpus cannot have -8"),
        (written(columns=columns(memory_mib=[[1.5], None])), "column memory_mib"),
        (written(columns=columns(disk_mib=[[None], None])), "column disk_mib"),
        (written(columns=columns(spot=[[1], None])), "column spot"),
        (written(columns=columns(region=[[["a"]], None])), "column region"),
        (written(columns=columns(region=[{"a": 1}, None])), "cannot be read"),
        (written(columns=columns(zone=[[None], None])), "column zone"),
        (written(columns=columns(gpus=[[[["A100", "80", 1, "nvidia"]]], None])), "column gpus"),
        (written(columns=columns(gpus=[[[["A100", 80, True, "nvidia"]]], None])), "column gpus"),
        (written(columns=columns(priced_at=[["2026-11-22T00:00:00"], None])), "column priced_at"),
        (written(columns=columns(priced_at=[["soon"], None])), "cannot be read"),
        (written(source=7), "source"),
    ],
)
def test_what_is_no_catalog_is_refused_with_a_reason(data, reason):
    with pytest.raises(CatalogError, match=reason):
        unpack(data)


def test_an_offer_with_a_value_of_another_type_is_refused_before_it_is_stored():
    for odd in (make_offer(instance_type=None), make_offer(cpus="8"), make_offer(priced_at="today")):
        with pytest.raises(CatalogError, match="cannot be written"):
            pack([odd], fetched_at=NOW, source="x")
