"""Host keys as they are given: `known_hosts` of every kind, bare keys, fingerprints."""

import base64
import subprocess

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.host_records import Destination
from chalicelib.ssh.host_keys import keys_for, keys_for_jump, known_as, parse_host_keys
from chalicelib.ssh.keys import fingerprint, read_private_key
from tests.ssh.server import private_key

ED, EC, RSA = (read_private_key(private_key(kind)) for kind in ("ed25519", "ecdsa-256", "rsa-2048"))


def test_every_key_of_the_host_is_taken_and_no_other_hosts():
    text = f"# mine\nbox {ED.public} note\nother {EC.public}\nbox,10.0.0.7 {RSA.public}\n"
    keys = parse_host_keys(text, "box")
    assert keys.prints == (ED.fingerprint, RSA.fingerprint)
    assert keys.kinds == ("ssh-ed25519", "ssh-rsa")
    assert ED.fingerprint in keys
    assert EC.fingerprint not in keys


@pytest.mark.parametrize(
    ("names", "host", "port", "fits"),
    [
        ("box", "box", 22, True),
        ("box", "BOX", 22, True),
        ("box", "box", 2222, False),
        ("[box]:2222", "box", 2222, True),
        ("[box]:2222", "box", 22, False),
        ("[fd00::7]:2222", "fd00::7", 2222, True),
        ("*.example", "a.example", 22, True),
        ("*.example,!b.example", "b.example", 22, False),
        ("10.0.0.?", "10.0.0.7", 22, True),
        ("a,b,box", "box", 22, True),
    ],
)
def test_names_are_patterns_with_ports(names, host, port, fits):
    if fits:
        assert ED.fingerprint in parse_host_keys(f"{names} {ED.public}", host, port)
        return
    with pytest.raises(InvalidInputError, match="nothing for"):
        parse_host_keys(f"{names} {ED.public}", host, port)


@pytest.mark.parametrize(("host", "port"), [("box.example", 22), ("10.0.0.7", 2222)])
def test_a_file_that_openssh_hashed_is_read(host, port, tmp_path):
    path = tmp_path / "known"
    path.write_text(f"{known_as(host, port)} {ED.public}\nelse {EC.public}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", path], capture_output=True, check=True, timeout=60)
    assert host not in path.read_text()
    assert parse_host_keys(path.read_text(), host, port).prints == (ED.fingerprint,)


def test_a_bare_key_and_a_fingerprint_are_for_whichever_host():
    assert parse_host_keys(ED.public, "box").prints == (ED.fingerprint,)
    assert parse_host_keys(f"{EC.public} root@box", "box").kinds == ("ecdsa-sha2-nistp256",)
    keys = parse_host_keys(f"{ED.fingerprint}=\n{EC.fingerprint}", "box")
    assert (keys.prints, keys.kinds) == ((ED.fingerprint, EC.fingerprint), ())


def test_a_revoked_key_does_not_count_and_an_authority_is_no_key():
    text = f"box {ED.public}\nbox {EC.public}\n@revoked * {ED.public}\n@cert-authority * {RSA.public}"
    assert parse_host_keys(text, "box").prints == (EC.fingerprint,)


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing", "box", "ssh-ed25519", "box ssh-ed25519", "box ssh-ed25519 !!!", "box ssh-dss AAAAB3NzaC1kc3M=",
        f"box ssh-rsa {ED.public.split()[1]}", "MD5:00:11:22", "SHA256:short", "@revoked",
        f"|1|broken {ED.public}", f"|1|AAAA|AAAA {ED.public}",
    ],
    ids=lambda text: text.replace(ED.public.split()[1], "KEY"),
)  # fmt: skip
def test_what_is_no_host_key_is_refused_with_the_form_that_would_be_right(text):
    with pytest.raises(InvalidInputError) as caught:
        parse_host_keys(text, "box")
    assert caught.value.field == "host_key"
    assert "SHA256:" in caught.value.expected


def test_a_fingerprint_is_base64_of_sha256_without_padding():
    assert fingerprint(base64.b64decode(ED.public.split()[1])) == ED.fingerprint
    assert not ED.fingerprint.endswith("=")


BOX, BASTION = Destination("box", "ubuntu"), Destination("bastion", "ann", 2200)


def test_lines_that_name_the_jump_host_are_its_own_and_the_rest_is_for_the_host_behind_it():
    text = f"[bastion]:2200 {ED.public}\nbox {EC.public}\nbastion2 {RSA.public}"
    assert keys_for(text, BOX, BASTION).prints == (EC.fingerprint,)
    assert keys_for_jump(text, BASTION).prints == (ED.fingerprint,)


def test_a_host_behind_a_jump_host_whose_key_alone_is_given_is_trusted_on_first_use():
    text = f"[bastion]:2200 {ED.public}"
    assert keys_for(text, BOX, BASTION) is None
    assert keys_for_jump(text, BASTION).prints == (ED.fingerprint,)
    with pytest.raises(InvalidInputError, match="nothing for box"):
        keys_for(text, BOX)


def test_bare_keys_are_for_the_host_and_no_jump_host():
    text = f"{ED.public}\n{EC.fingerprint}\n@cert-authority * {RSA.public}"
    assert keys_for(text, BOX, BASTION).prints == (ED.fingerprint, EC.fingerprint)
    assert keys_for_jump(text, BASTION) is None


def test_hashed_lines_name_a_jump_host_as_well(tmp_path):
    path = tmp_path / "known"
    path.write_text(f"[bastion]:2200 {ED.public}\nbox {EC.public}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", path], capture_output=True, check=True, timeout=60)
    assert keys_for_jump(path.read_text(), BASTION).prints == (ED.fingerprint,)
    assert keys_for(path.read_text(), BOX, BASTION).prints == (EC.fingerprint,)
    assert keys_for_jump(path.read_text(), Destination("bastion", "ann")) is None
