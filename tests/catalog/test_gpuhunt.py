"""gpuhunt's CSV: what its columns mean, and that no row is dropped without a word."""

import pytest

from chalicelib.catalog.codec import CatalogError
from chalicelib.catalog.gpuhunt import BadRow, read
from chalicelib.domain.model import Gpu, Resources
from tests.builders import NOW

HEADER = (
    "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,"
    "gpu_vendor,flags,cpu_arch,provider_data"
)
GOOD = "g5.xlarge,us-east-1,1.006,4,16.0,1,A10G,24.0,False,,nvidia,,x86,"

MI300X = Gpu("MI300X", 196_608, 2, "amd")


def reading(*rows, header=HEADER):
    return read("\n".join([header, *rows]) + "\n", "aws", priced_at=NOW)


def only(row, header=HEADER):
    found = reading(row, header=header)
    assert found.bad == []
    return found.offers[0]


def test_a_row_is_an_offer():
    offer = only(GOOD)
    assert (offer.backend, offer.region, offer.zone, offer.instance_type) == ("aws", "us-east-1", "", "g5.xlarge")
    assert (offer.price, offer.spot, offer.price_source, offer.priced_at) == (1_006_000, False, "gpuhunt", NOW)
    assert offer.resources == Resources(4, 16 * 1024, 100 * 1024, (Gpu("A10G", 24 * 1024, 1, "nvidia"),))


@pytest.mark.parametrize(
    ("row", "resources"),
    [
        ("m7i.large,eu,0.1,2,8.0,0,,,True,,,,,", Resources(2, 8192, 102_400)),
        ("m7i.large,eu,0.1,2,8.0,,,,True,50.0,,,,", Resources(2, 8192, 51_200)),
        ("x,eu,0.1,2,8,2,MI300X,192.0,True,10,amd,,x86,{}", Resources(2, 8192, 10_240, (MI300X,))),
        ("x,eu,0.1,2,8,1,T4,14.75,True,10,,,,", Resources(2, 8192, 10_240, (Gpu("T4", 16_384, 1),))),
    ],
)  # fmt: skip
def test_what_is_missing_means_what_gpuhunt_means_by_it(row, resources):
    assert only(row).resources == resources


def test_an_older_file_lacks_the_last_columns():
    header = HEADER.partition(",gpu_vendor")[0]
    assert only("g5.xlarge,us-east-1,1.006,4,16.0,1,A10G,24.0,True,", header).resources.gpus[0].vendor == "nvidia"


def test_a_quoted_cell_may_hold_commas():
    row = '"8x, big",us-east-1,1.006,4,16.0,0,,,True,,,,x86,"{""a"": 1, ""b"": 2}"'
    assert only(row).instance_type == "8x, big"


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (",us-east-1,1,4,16,0,,,True,,,,,", "instance_name"),
        ("x,,1,4,16,0,,,True,,,,,", "location"),
        ("x,r,free,4,16,0,,,True,,,,,", "price"),
        ("x,r,0.0,4,16,0,,,True,,,,,", "price"),
        ("x,r,-1,4,16,0,,,True,,,,,", "price"),
        ("x,r,nan,4,16,0,,,True,,,,,", "price"),
        ("x,r,1,,16,0,,,True,,,,,", "cpu"),
        ("x,r,1,0.5,16,0,,,True,,,,,", "cpu"),
        ("x,r,1,inf,16,0,,,True,,,,,", "cpu"),
        ("x,r,1,4,,0,,,True,,,,,", "memory"),
        ("x,r,1,4,16,-1,,,True,,,,,", "gpu_count"),
        ("x,r,1,4,16,1,,24,True,,,,,", "gpu_name"),
        ("x,r,1,4,16,1,T4,,True,,,,,", "gpu_memory"),
        ("x,r,1,4,16,1,T4,16,maybe,,,,,", "spot"),
        ("x,r,1,4,16,1,T4,16,True,big,,,,", "disk_size"),
        ("x,r,1,4,16,1,T4,16,True,,acme,,,", "gpu_vendor"),
        ("x,r,1,4,16,1,GH200,96,True,,,,arm,", "cpu_arch"),
        ("x,r,1", "cpu"),
    ],
)
def test_a_row_that_can_be_no_offer_is_reported_with_its_line_and_the_others_are_read(row, field):
    found = reading(GOOD, row, GOOD)
    assert len(found.offers) == 2
    (bad,) = found.bad
    assert bad.line == 3
    assert bad.reason.startswith(f"{field} is ")


def test_the_reason_says_what_stood_there_and_what_would_be_right():
    assert reading("x,r,1,0,16,0,,,True,,,,,").bad == [BadRow(2, "cpu is '0', not a whole number from 1 on")]


@pytest.mark.parametrize("text", ["", "\n", "price\n1\n", "<html>no catalog</html>"])
def test_what_is_no_such_file_is_refused_with_the_columns_it_lacks(text):
    with pytest.raises(CatalogError, match="instance_name"):
        read(text, "aws", priced_at=None)


def test_a_cell_without_an_end_is_refused_with_its_line():
    with pytest.raises(CatalogError, match="from line"):
        reading(GOOD, "x" * 200_000)
