"""The fake AWS with machines that run, as agents meet it."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from chalicelib.backends.aws.driver import AwsBackend
from chalicelib.backends.base import Phase
from chalicelib.domain.model import Offer
from tests.backends.aws_account import driver
from tests.backends.contract import spec_for
from tests.fakes.aws.process import AwsProcess
from tests.infra_cloud.process import eventually

OWNER = "tidepool-machines"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aws")


@pytest.fixture(scope="module")
def aws(state: Path) -> Iterator[AwsProcess]:
    fake = AwsProcess(state).start()
    yield fake
    fake.stop()
    assert list((state / "machines").iterdir()) == [], "a fake that ends leaves no machine"


@pytest.fixture(scope="module")
def backend(aws: AwsProcess) -> AwsBackend:
    return driver(aws, regions=["us-east-1"])


@pytest.fixture(scope="module")
def offers(backend: AwsBackend) -> list[Offer]:
    return list(backend.offers())


def launch(
    backend: AwsBackend, offers: list[Offer], script: str, *, type_: str = "t3.micro", spot: bool = False
) -> str:
    offer = next(each for each in offers if each.instance_type == type_ and each.spot is spot)
    return backend.launch(spec_for(offer, owner=OWNER, user_data=script)).ref


def home(state: Path, ref: str) -> Path:
    return state / "machines" / ref.partition("/")[2]


def test_the_user_data_runs_on_a_machine_with_its_gpus(state, backend, offers):
    ref = launch(backend, offers, "nvidia-smi -L > all && mv all gpus; exec sleep 600", type_="p4d.24xlarge")
    gpus = home(state, ref) / "gpus"
    assert len(eventually(lambda: gpus.exists() and gpus.read_text()).splitlines()) == 8


def test_a_machine_that_powers_itself_off_is_gone(aws, backend, offers):
    ref = launch(backend, offers, 'sleep 0.2; sh -c "$TIDEPOOL_POWEROFF"; sleep 600')
    eventually(lambda: backend.describe(ref).phase is Phase.GONE)
    assert aws.leftovers(ref) == []


def test_an_ended_machine_leaves_no_process(aws, backend, offers):
    ref = launch(backend, offers, "setsid sleep 600 & exec sleep 600")
    assert [each for each in aws.leftovers(ref) if each.startswith("process")]
    backend.terminate(ref)
    assert backend.describe(ref).phase in {Phase.STOPPING, Phase.GONE}
    eventually(lambda: backend.describe(ref).phase is Phase.GONE)
    assert aws.leftovers(ref) == []


def test_a_machine_learns_from_its_metadata_that_it_is_taken_back(state, aws, backend, offers):
    ref = launch(backend, offers, 'echo "$TIDEPOOL_METADATA_URL" > url; exec sleep 600', spot=True)
    written = home(state, ref) / "url"
    url = eventually(lambda: written.exists() and written.read_text()).strip() + "/latest"
    with pytest.raises(HTTPError) as without_token:
        urlopen(f"{url}/meta-data/spot/instance-action", timeout=60)
    assert without_token.value.code == 401
    without_token.value.close()
    asked = Request(f"{url}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    with urlopen(asked, timeout=60) as answer:
        token = {"X-aws-ec2-metadata-token": answer.read().decode()}
    with pytest.raises(HTTPError) as before:
        urlopen(Request(f"{url}/meta-data/spot/instance-action", headers=token), timeout=60)
    assert before.value.code == 404
    before.value.close()
    aws.interrupt(ref, after_s=4)
    with urlopen(Request(f"{url}/meta-data/spot/instance-action", headers=token), timeout=60) as answer:
        assert json.loads(answer.read())["action"] == "terminate"
    eventually(lambda: backend.describe(ref).phase is Phase.GONE)
    assert backend.describe(ref).interrupted
