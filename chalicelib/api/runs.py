"""Runs: submitted, listed, followed, stopped."""

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import USER, VIEWER, Call, answer, endpoint, listing, within_page
from chalicelib.api.parameters import PAGE, flag, whole
from chalicelib.api.schemas import RunRequest, StopRequest
from chalicelib.domain.errors import AlreadyExistsError, LostRaceError, NoMatchError, NoOffersError
from chalicelib.domain.nodes import MAX_NODES
from chalicelib.domain.policies import RUN
from chalicelib.services import pools, runs
from chalicelib.services.runs import RunSubmission
from chalicelib.wiring import deps

routes = Blueprint(__name__)

ACTIVE = flag("active", "Only runs that have not ended.")
AFTER = whole("after", "The byte to begin at.", default=0, least=0, most=2**53)
NODE = whole("node", "Which node's output, by its rank.", default=0, least=0, most=MAX_NODES - 1)
BYTES = whole("limit", "How many bytes to answer at most.", default=256 * 1024, least=1, most=512 * 1024)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/runs",
    USER,
    body=RunRequest,
    status=201,
    answer=answers.SubmittedRun,
    errors=[AlreadyExistsError, NoMatchError, NoOffersError],
)
def submit_run(call: Call[RunRequest], project: str) -> Response:
    """Run a job on an idle instance that fits, else on one that is bought for it."""
    wanted = call.body
    policies, warnings = wanted.policies(RUN)
    submission = RunSubmission(
        wanted.name, wanted.pool, wanted.job(), policies, wanted.reuse, wanted.instance, wanted.nodes
    )
    run = runs.submit(deps(), project, submission, actor=call.actor, api_url=call.api_url, request_id=call.request_id)
    return answer({**views.run(run), "warnings": warnings}, 201)


@endpoint(routes, "GET", "/v1/projects/{project}/runs", VIEWER, answer=list[answers.Run], query=(*PAGE, ACTIVE))
def list_runs(call: Call[None], project: str) -> Response:
    """List runs, the newest first. A page may have fewer than `limit` items although more follow."""

    def page(limit: int) -> tuple[list[str], str | None]:
        found, following = runs.page(deps(), project, **{**call.query, "limit": limit})
        return [views.text(views.run(run)) for run in found], following

    texts, following = within_page(page, call.query["limit"])
    if not texts:
        pools.require_project(deps(), project)
    return listing(texts, following)


@endpoint(routes, "GET", "/v1/projects/{project}/runs/{run}", VIEWER, answer=answers.RunDetail)
def show_run(call: Call[None], project: str, run: str) -> Response:
    """Show a run, by name or id, with the attempts of its instance while that is not there."""
    found, attempts = runs.show(deps(), project, run)
    return answer({**views.run(found), "attempts": [views.attempt(each) for each in attempts]})


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/runs/{run}/stop",
    USER,
    body=StopRequest,
    status=202,
    answer=answers.Run,
    errors=[LostRaceError],
)
def stop_run(call: Call[StopRequest], project: str, run: str) -> Response:
    """Stop a run: its job gets SIGTERM and, when its grace is over, SIGKILL. An ended run is answered unchanged."""
    return answer(views.run(runs.stop(deps(), project, run, force=call.body.force, actor=call.actor)), 202)


@endpoint(
    routes, "GET", "/v1/projects/{project}/runs/{run}/logs", VIEWER, answer=answers.LogChunk, query=(AFTER, BYTES, NODE)
)
def read_logs(call: Call[None], project: str, run: str) -> Response:
    """Answer output of a run from a byte on, or from the next one that there is, as far as it is stored.

    Of several nodes each has a stream of its own.
    """
    return answer(views.logs(runs.logs(deps(), project, run, **call.query)))
