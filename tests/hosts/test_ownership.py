"""Two control planes that want the same host: it belongs to one of them, and the other is told so."""

from concurrent.futures import ThreadPoolExecutor

from tests.hosts.adopting import add, ask, bare, codes, ours, removed, serve, traces, until


def settled(plane, host, key):
    """Add a host; return its instance when it is ready or given up."""
    path = ask(plane, host, key)["instance_id"]
    return until(
        lambda: (seen := plane.instance(path))["state"] in ("idle", "terminated") and seen, f"{path} is not settled"
    )


def agents(host):
    """The agent of a host and its spawner, one of each; what they start looks like them for a moment."""
    return [line for line in host.processes() if line.endswith("/tidepool_agent.py")]


def test_of_two_control_planes_that_add_a_host_at_once_one_gets_it_and_the_other_hears_whose_it_is(
    lab, first, second, key
):
    host = bare(lab, first, key, "coveted")
    serve(second, host)
    before = traces(host)
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda plane: settled(plane, host, key), (first, second)))
    assert sorted(row["state"] for row in rows) == ["idle", "terminated"]
    winner, lost = (first, rows[1]) if rows[0]["state"] == "idle" else (second, rows[0])
    won = winner.instance(host.name)
    assert codes(lost) == {"owner-foreign"}
    (told,) = [check for check in lost["host"]["checks"] if check["status"] == "fail"]
    assert winner.client["TIDEPOOL_URL"] in told["found"]
    assert won["instance_id"] in told["found"]
    assert told["fix"] == "remove it there, or add it with --take-over"
    until(lambda: len(agents(host)) == 2, "there is not one agent")
    words = ("run", "--reuse", "--no-code", "--instance", host.name, "--", "hostname")
    assert winner.tidepool(*words).out == "coveted\n"
    removed(winner, won)
    assert (traces(host), ours(host)) == (before, [])


def test_a_host_that_another_control_plane_takes_over_is_unreachable_for_the_one_that_had_it(lab, first, second, key):
    host = bare(lab, first, key, "disputed")
    serve(second, host)
    before = traces(host)
    add(first, host, key)
    first.tidepool("run", "-d", "--reuse", "--no-code", "--instance", host.name, "--", "sleep", "600")
    until(lambda: "sleep 600" in host.processes(), "the job does not begin")
    taken = add(second, host, key, take_over=True)
    assert "owner-taken-over" in {check["code"] for check in taken["host"]["checks"]}
    assert "sleep 600" not in host.processes()
    until(lambda: len(agents(host)) == 2, "there is not one agent")
    words = ("run", "--reuse", "--no-code", "--instance", host.name, "--", "hostname")
    assert second.tidepool(*words).out == "disputed\n"
    until(lambda: first.instance(host.name)["unreachable"], "the other pretends that it is there")
    first.tidepool(*words, code=6)
    removed(second, taken)
    assert (traces(host), ours(host)) == (before, [])
