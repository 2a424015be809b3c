"""The search for a cluster: what is not asked again, and when it ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.attempts import SILENT, are_beyond_waiting, telling
from chalicelib.domain.searches import LONGEST, MOST, SAID, Search, account_of, begun
from chalicelib.store.documents import tries_doc, tries_from
from tests.builders import NOW, make_attempt, make_run


def test_a_cluster_that_failed_is_not_asked_again_and_an_account_is_out_with_all_its_regions():
    search = begun(None, NOW).without("aws|us-east-1", "sold out").without(account_of("azure|westeurope"), "no access")
    assert search.excludes("aws|us-east-1")
    assert search.excludes("azure|eastus")
    assert not search.excludes("aws|us-east-2")
    assert not search.excludes("azure-2|eastus")
    assert search.explained() == "aws|us-east-1: sold out; azure: no access"


def test_a_round_ends_after_so_many_clusters_or_so_much_time_and_the_next_one_begins_with_none_failed():
    search = begun(None, NOW)
    assert search.may_go_on(NOW + LONGEST)
    assert not search.may_go_on(NOW + LONGEST + timedelta(seconds=1))
    for number in range(MOST):
        search = search.without(f"c|{number}", "x" * 1000)
    assert not search.may_go_on(NOW)
    assert len(search.explained()) < MOST * (SAID + 10)
    later = NOW + timedelta(hours=1)
    again = search.next_round(later)
    assert again.may_go_on(later + LONGEST)
    assert (again.since, again.rounds, again.failed) == (NOW, 1, ())


@pytest.mark.parametrize(
    ("kinds", "hopeless"),
    [
        ([], False),
        ([[]], False),
        ([["auth"]], True),
        ([["auth"], ["invalid", SILENT]], True),
        ([["auth"], ["capacity"]], False),
        ([["invalid", "capacity", "auth"]], False),
    ],
)
def test_waiting_is_of_no_use_when_no_refusal_of_any_cluster_passes_by_waiting(kinds, hopeless):
    search = begun(None, NOW)
    for number, each in enumerate(kinds):
        search = search.without(f"c|{number}", "why", kind=telling([make_attempt(kind=kind) for kind in each]))
    assert are_beyond_waiting(search.kinds) is hopeless
    assert not are_beyond_waiting(search.next_round(NOW).kinds)


def test_a_search_is_stored_and_read_back():
    search = Search(NOW, NOW + timedelta(hours=1), (("aws|x", "why", "capacity"), ("azure|", "no", "auth")), 3, 2)
    tries = make_run().tries
    assert tries_from(tries_doc(tries)) == tries
    searching = replace(tries, search=search, placements=2)
    assert tries_from(tries_doc(searching)) == searching
