"""What people write about hosts, keys and ssh's options, taken apart."""

import base64
import hashlib
import hmac
import io
import re
import shutil
import subprocess

import pytest

from tests.ssh.server import private_key
from tidepool.command import Parser, Session, UsageError
from tidepool.errors import InputError
from tidepool.ssh_destination import MOST_HOSTS, expand, parse_destination, read_hosts
from tidepool.ssh_failures import failure_of, own_words, server_key
from tidepool.ssh_key import is_encrypted, load_key
from tidepool.ssh_known_hosts import fingerprint, for_host, given_keys, keys_for, known_keys
from tidepool.ssh_options import SWITCHES, VALUED, SshWords, add_ssh_options, uploaded_options

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3nLXgWDlVgH1EsHwr7yyvTfGkWw7Wo9jC9bTrC0Fz4"
OTHER = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7"


@pytest.mark.parametrize(
    ("text", "host", "port", "user"),
    [
        ("10.0.0.7", "10.0.0.7", 0, ""),
        ("ubuntu@box", "box", 0, "ubuntu"),
        ("ubuntu@box:2222", "box", 2222, "ubuntu"),
        ("ssh://ubuntu@box:2222/", "box", 2222, "ubuntu"),
        ("SSH://box", "box", 0, ""),
        ("first@last@box", "box", 0, "first@last"),
        ("u@[2001:db8::7]:2200", "2001:db8::7", 2200, "u"),
        ("[::1]", "::1", 0, ""),
        ("u@[10.0.0.7]:2200", "10.0.0.7", 2200, "u"),
        ("fe80::1%eth0", "fe80::1%eth0", 0, ""),
        ("gpu_node-1.lan", "gpu_node-1.lan", 0, ""),
    ],
)
def test_a_destination_is_taken_apart(text, host, port, user):
    found = parse_destination(text)
    assert (found.host, found.port, found.user) == (host, port, user)


@pytest.mark.parametrize(
    "text",
    ["", "@box", "u@", "box:", "box:0", "box:65536", "box:22x", "-oProxyCommand=x", "u@-x", "a b", "a;b", "$(x)",
     "[box]", "[::1", "[::1]x", "u@host/", "http://box", "a\tb", "box:" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_destination_is_refused(text):
    with pytest.raises(InputError, match="DESTINATION"):
        parse_destination(text)


@pytest.mark.parametrize(
    ("texts", "hosts"),
    [
        (["gpu-node-[1-3]"], ["gpu-node-1", "gpu-node-2", "gpu-node-3"]),
        (["n[08-11]"], ["n08", "n09", "n10", "n11"]),
        (["a[1,3,5-7]"], ["a1", "a3", "a5", "a6", "a7"]),
        (["r[1-2]n[1-2]:22"], ["r1n1:22", "r1n2:22", "r2n1:22", "r2n2:22"]),
        (["u@[::1]:22"], ["u@[::1]:22"]),
        (["a", "b", "a", "[1-1]x"], ["a", "b", "1x"]),
        (["a[4]"], ["a4"]),
    ],
)
def test_ranges_are_written_out_once_each_and_in_order(texts, hosts):
    assert expand(texts) == hosts


@pytest.mark.parametrize("text", ["a[3-1]", "a[1-9999]", "a[1-99999999999999999999]", "a[1-100]b[1-100]"])
def test_a_range_that_is_backwards_or_endless_is_refused(text):
    with pytest.raises(InputError, match=f"backwards|more than {MOST_HOSTS}"):
        expand([text])


def test_a_file_of_hosts_may_have_remarks():
    assert read_hosts(["# ours\n", "a # the first\n", "\n", "  u@b[1-2]\n"]) == ["a", "u@b[1-2]"]


def parsed(*words):
    parser = Parser("x", "")
    add_ssh_options(parser)
    parser.add_argument("hosts", nargs="*")
    return parser.parse_intermixed_args(list(words))


def test_all_options_of_ssh_are_understood_in_the_order_they_came():
    args = parsed("-4v", "-oProxyJump=a", "-o", "User=b", "host", "-p2222", "-F", "file", "-vv", "-L", "1:h:2", "other")
    assert args.hosts == ["host", "other"]
    words = SshWords(args.ssh).words
    assert words == ["-4", "-o", "ProxyJump=a", "-o", "User=b", "-p", "2222", "-F", "file", "-L", "1:h:2"]
    assert SshWords(args.ssh).talks


@pytest.mark.parametrize("letter", VALUED)
def test_each_option_with_a_value_takes_one(letter):
    assert parsed(f"-{letter}", "value", "host").hosts == ["host"]


@pytest.mark.parametrize("letter", SWITCHES)
def test_each_switch_takes_none(letter):
    assert parsed(f"-{letter}", "host").hosts == ["host"]


def test_what_is_done_with_the_connection_is_not_for_ssh_to_hear():
    assert SshWords(parsed("-fNT", "-t", "-n", "-A", "h").ssh).words == ["-A"]


@pytest.mark.parametrize("words", [("-G",), ("-W", "a:22"), ("-O", "exit"), ("-Q", "key"), ("-V",)])
def test_options_that_make_no_connection_are_refused(words):
    with pytest.raises(UsageError, match=f"ssh {words[0]} makes no connection"):
        SshWords(parsed(*words, "h").ssh)


def test_an_option_of_ssh_alone_needs_ssh():
    with pytest.raises(UsageError, match="-o is an option of ssh itself; with --from-here"):
        uploaded_options(parsed("-i", "k", "-o", "A=b", "h").ssh)
    with pytest.raises(UsageError, match="-i is there twice, as k and as l"):
        uploaded_options(parsed("-i", "k", "-i", "l", "h").ssh)


@pytest.mark.skipif(not shutil.which("ssh"), reason="there is no ssh")
def test_the_options_of_the_installed_ssh_are_in_the_table():
    """ssh prints its synopsis when it is given no destination."""
    said = subprocess.run(["ssh", "--"], capture_output=True, text=True, check=False, timeout=60).stderr
    (switches,) = re.findall(r"\[-(\w+)\]", said)
    assert set(switches) <= set(SWITCHES)
    assert set(re.findall(r"\[-(\w) ", said)) <= set(VALUED)


# --- known_hosts


def hashed(name, salt=b"01234567890123456789"):
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("names", "host", "port", "known"),
    [
        ("box", "box", 22, True),
        ("box", "BOX", 22, True),
        ("box", "box", 2222, False),
        ("[box]:2222", "box", 2222, True),
        ("a,box,10.0.0.7", "10.0.0.7", 22, True),
        ("*.lan,!bad.lan", "good.lan", 22, True),
        ("*.lan,!bad.lan", "bad.lan", 22, False),
        ("10.0.0.?", "10.0.0.7", 22, True),
        ("10.0.0.?", "10.0.0.77", 22, False),
        (hashed("box"), "box", 22, True),
        (hashed("[box]:2222"), "box", 2222, True),
        (hashed("other"), "box", 22, False),
        ("|1|x", "box", 22, False),
    ],
)
def test_known_hosts_are_found_plain_and_hashed(names, host, port, known):
    assert keys_for(f"# remark\n\nbroken\n{names} {KEY} remark\n", host, port) == ([KEY] if known else [])


def test_a_revoked_key_is_none_and_an_authority_is_not_a_host_s_key():
    text = f"box {KEY}\nbox {OTHER}\n@revoked * {OTHER}\n@cert-authority box {OTHER}x\n"
    assert keys_for(text, "box", 22) == [KEY]


def test_the_user_s_file_is_looked_into_and_may_be_missing(tmp_path):
    assert known_keys("box.invalid", 22, {"HOME": str(tmp_path)}) == []
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(f"box.invalid {KEY}\n")
    assert known_keys("box.invalid", 22, {"HOME": str(tmp_path)}) == [KEY]


def test_a_given_host_key_is_a_file_a_key_or_a_fingerprint(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\nbox {KEY}\nother {OTHER}\n")
    assert for_host(given_keys(str(path)), "box", 22) == [KEY]
    assert given_keys(KEY) == [KEY]
    assert for_host([fingerprint(KEY)], "box", 22) == [fingerprint(KEY)]
    with pytest.raises(InputError, match=r"--host-key has no key for \[box\]:2222"):
        for_host(given_keys(str(path)), "box", 2222)
    with pytest.raises(InputError, match="neither a file"):
        given_keys("nonsense")


# --- keys


def session(*, stdin="", **environ):
    clock = {"now": float, "monotonic": float, "sleep": lambda _: None}
    return Session(stdin=io.StringIO(stdin), environ=environ, folder=".", **clock)


@pytest.fixture
def key_file(tmp_path):
    def make(text, mode=0o600):
        path = tmp_path / "id"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *((kind, form) for kind in ("ed25519", "ecdsa-256", "rsa-2048") for form in ("OpenSSH", "PKCS8")),
        ("ecdsa-256", "TraditionalOpenSSL"),
        ("rsa-2048", "TraditionalOpenSSL"),
    ],
)
def test_whether_a_key_has_a_passphrase_is_seen_from_outside(kind, form):
    from cryptography.hazmat.primitives.serialization import PrivateFormat

    shape = getattr(PrivateFormat, form)
    assert not is_encrypted(private_key(kind, form=shape))
    assert is_encrypted(private_key(kind, "secret", shape))


def test_a_key_is_read_with_its_passphrase_from_the_environment(key_file):
    text = private_key("ed25519", "secret")
    key = load_key(key_file(text), session(TIDEPOOL_KEY_PASSPHRASE="secret"))
    assert (key.text, key.passphrase) == (text, "secret")
    assert "secret" not in repr(key)
    with pytest.raises(UsageError, match="set TIDEPOOL_KEY_PASSPHRASE, or use --from-here"):
        load_key(key_file(text), session())


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (KEY, 0o600, "is a public key; give the private half: the file without .pub"),
        ("hello", 0o600, "is no private key"),
        ("\xff" * 10, 0o600, "is no private key"),
        ("-----BEGIN X" + "a" * 70_000, 0o600, "is no private key"),
        ("-----BEGIN X", 0o644, "can be read by others.*chmod 600"),
    ],
)
def test_a_file_that_is_no_private_key_says_what_it_is(key_file, text, mode, told):
    with pytest.raises(InputError, match=told):
        load_key(key_file(text, mode), session())


def test_a_key_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="id_none: No such file"):
        load_key(str(tmp_path / "id_none"), session())


# --- what ssh says


@pytest.mark.parametrize(
    ("said", "code", "exit_code"),
    [
        ("@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key for x has changed and you have "
         "requested strict checking.\nHost key verification failed.", "host-key-changed", 9),
        ("Host key verification failed.", "host-key-unknown", 9),
        ("u@x: Permission denied (publickey).", "auth-failed", 9),
        ("Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures", "auth-failed", 9),
        ("ssh: Could not resolve hostname x: Name or service not known", "unreachable", 8),
        ("ssh: connect to host x port 22: Connection refused", "unreachable", 8),
        ("Connection timed out during banner exchange\nConnection to x port 25 timed out", "not-ssh", 8),
        ("kex_exchange_identification: banner line contains invalid characters", "not-ssh", 8),
        ("kex_exchange_identification: Connection closed by remote host", "connection-lost", 8),
        ("debug1: kex_exchange_identification: banner line 0: Exceeded MaxStartups\n"
         "kex_exchange_identification: read: Connection reset by peer", "connection-lost", 8),
        ("client_loop: send disconnect: Broken pipe", "connection-lost", 8),
        ("command-line: line 0: Bad configuration option: nonsense", "ssh-usage", 2),
        ("", "unreachable", 8),
    ],
)  # fmt: skip
def test_the_words_of_ssh_have_a_code_and_a_remedy(said, code, exit_code):
    found = failure_of("debug1: Connection refused\n" + said, "box", "[box]:22")
    assert (found.code, found.exit_code) == (code, exit_code)
    assert found.fix
    assert "debug1" not in found.words


def test_a_server_of_something_else_is_told_by_its_first_words():
    said = "debug1: kex_exchange_identification: banner line 0: 220 mail.test ESMTP\n"
    said += "kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.1 port 25\n"
    found = failure_of(said, "box", "box")
    assert (found.code, found.words) == ("not-ssh", "it says: 220 mail.test ESMTP")
    assert "220 mail.test" in own_words(said)
    greeting = "debug1: kex_exchange_identification: banner line 0: be welcome\nu@x: Permission denied (publickey)."
    assert failure_of(greeting, "box", "box").code == "auth-failed"


def test_the_key_of_the_last_hop_is_the_host_s():
    log = f"debug1: Server host key: ssh-ed25519 {fingerprint(OTHER)}\ndebug1: x\n"
    log += f"debug1: Server host key: ssh-ed25519 {fingerprint(KEY)}\n"
    assert server_key(log) == fingerprint(KEY)
    assert server_key("") == ""


def test_what_ssh_says_around_a_command_is_not_the_command_s():
    assert own_words("debug1: a\nOpenSSH_9.2p1\nreal\nWarning: Permanently added 'x'\n") == "real\n"
