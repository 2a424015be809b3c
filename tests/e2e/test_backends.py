"""A project's account at a provider: through the deployed API, its roles and Secrets Manager. No provider is asked."""

from tests.e2e.plane import Plane

KEY_ID = "AKIA" + "Q" * 16
SECRET = "wJalrXUtnFEMI+K7MDENG/bPxRfiCYzEXAMPLEKEY"


def test_an_account_is_added_listed_replaced_and_removed_and_its_secret_is_nowhere_to_be_read(plane: Plane):
    (plane.root / "work" / "secret").write_text(SECRET)
    words = ("backend", "add", "aws", "--name", "mine", "--access-key-id", KEY_ID, "--secret-file", "secret")
    told = [plane.tidepool(*words, "--no-check", "--json")]
    assert told[0].json["regions"] == ["us-east-1"]
    told.append(plane.tidepool(*words, "--no-check", code=5))
    told.append(plane.tidepool(*words, "--no-check", "--replace"))
    told.append(plane.tidepool("backend", "list", "--json"))
    versions = {each["name"]: each["version"] for each in told[-1].json}
    assert list(versions) == ["local", "mine"]
    assert versions["mine"] > told[0].json["version"]
    told.append(plane.tidepool("backend", "rm", "mine", "-y"))
    told.append(plane.tidepool("backend", "list"))
    assert "mine" not in told[-1].out
    told.append(plane.tidepool("backend", "rm", "mine", "-y", code=4))
    everything = "\n".join([*(done.out + done.err for done in told), *plane.said()])
    assert SECRET not in everything


def test_the_local_cloud_is_tested_like_any_backend_and_cannot_be_removed(plane: Plane):
    checked = plane.tidepool("backend", "test", "local", "--json").json
    assert checked["ok"]
    assert "built in" in plane.tidepool("backend", "rm", "local", "-y", code=5).err
