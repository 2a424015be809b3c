"""Code archives on their way to S3; the bytes do not come through the API."""

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import USER, Call, answer, endpoint
from chalicelib.api.schemas import UploadRequest
from chalicelib.services import uploads
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(
    routes, "POST", "/v1/projects/{project}/uploads", USER, body=UploadRequest, answer=answers.Upload, repeatable=True
)
def prepare_upload(call: Call[UploadRequest], project: str) -> Response:
    """Say where to PUT an archive, or that it is there already."""
    return answer(views.upload(uploads.prepare(deps(), project, call.body.sha256, call.body.size)))
