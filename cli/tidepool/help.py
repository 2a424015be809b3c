"""`tidepool --help`, `tidepool help TOPIC`: written from the table of commands, without loading any of them."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tidepool.main import Entry

EXIT_CODES = """\
Exit codes

  0    done
  1    internal error: a defect, or an answer that is not the API's
  2    bad input: the command line, a value, a local file
  3    no token, an unknown or expired one, or one whose role is not enough
  4    not found
  5    refused: a conflict, something busy, or a question answered with no
  6    no idle instance matches, and nothing may be bought
  7    no offers, or provisioning failed with every one of them
  8    unavailable: the control plane did not answer, or the machine was lost
  9    a host cannot be adopted: a check of it failed
  125  the run could not be started on its machine, for a reason such as its image
  130  interrupted by Ctrl-C, or the run was stopped and its command ended with 0

`tidepool run` and `tidepool logs -f` end with the job's own exit code; 128+n when signal n ended it.
"""
ENVIRONMENT = """\
Environment

  TIDEPOOL_URL, TIDEPOOL_TOKEN, TIDEPOOL_PROJECT
                       which control plane, who asks, which project. They win over what `tidepool login`
                       stored; with neither, .tidepool/local.env of this folder or a parent is used.
  TIDEPOOL_LOCAL_CLOUD_URL, TIDEPOOL_LOCAL_CLOUD_KEY
                       the local cloud, for `tidepool rehearse`; else from .tidepool/local.env
  TIDEPOOL_PROFILE, DSTACK_PROFILE
                       the profile that holds where --profile names none
  TIDEPOOL_KEY_PASSPHRASE
                       the passphrase of the key that `pool add-ssh -i` reads; else it is asked for
  TIDEPOOL_DEBUG=1     show tracebacks
  NO_COLOR             no colours
  XDG_CONFIG_HOME, XDG_CACHE_HOME
                       where the configuration and the archive cache are kept
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE
                       as everywhere
"""
REQUIREMENTS = """\
Requirements

  --cpu 4       at least 4        --cpu 4..8       4 to 8        --cpu ..8      at most 8
  --memory 32GB at least 32 GB    --memory 1TB     units MB, GB, TB; none means GB
  --disk 200GB  at least 200 GB
  --gpu A100                      exactly one A100
  --gpu 80GB                      one GPU with exactly 80 GB
  --gpu A100:2, A100:80GB:2       two of them; of 80 GB each
  --gpu A10G,A100                 either
  --gpu 24GB..40GB, --gpu 2..4    ranges of memory for each GPU, of the number of GPUs
  --gpu 0                         no GPU
  --gpu nvidia:24GB               of this vendor

In a file `gpu` may also be a map: {name: [A100, H100], memory: 80GB, count: 2, total_memory: 160GB.., vendor: nvidia,
compute_capability: 8.0}.

Durations: 45s, 5m, 2h, 3d, 1w, plain seconds, or off.
"""
PROFILES = """\
Profiles

  .tidepool/profiles.yml: named sets of what the options of `run`, `pool add` and `offer` say.

    profiles:
      - name: train
        default: true            # holds when no other is named
        resources: {gpu: "A100:80GB:2", memory: 64GB}
        backends: [aws, azure]
        spot_policy: auto        # spot, on-demand
        max_price: 4.5
        idle_duration: 30m       # or off
        retry: {on_events: [no-capacity, interruption], duration: 4h}

  Looked for in the current folder and its parents up to the repository's root, then in the home folder; in each
  place .tidepool/profiles.yml before .dstack/profiles.yml, .yml before .yaml. The first file that has the
  profile wins. It is named by --profile, TIDEPOOL_PROFILE or DSTACK_PROFILE; else the one with `default: true`.

  An option wins over the run file, that over the profile, that over the default, for each key. --explain shows
  what holds and who says it. All keys, with examples: docs/profiles.md.
"""
RUN_FILE = """\
Run files

  .tidepool.yml of the current folder, for `tidepool run` without a command; any other by -f FILE, which holds
  beside a command as well, and for `pool add` and `offer`.

    name: train
    commands:                    # one script for `sh -e`: ends at the first line that fails
      - pip install -r requirements.txt
      - python train.py
    image: python:3.13
    env: {EPOCHS: 3, API_KEY: }  # without a value: taken from the environment of whoever runs it
    files: [data.bin, ~/models/base:models/base]
    working_dir: src
    resources: {gpu: 80GB, disk: 200GB}
    max_duration: 6h

  and every key of a profile (`tidepool help profiles`). `argv: [python, train.py]` runs without a shell.
"""
HOSTS = """\
Hosts: servers that you own

  tidepool pool add-ssh -i ~/.ssh/id_ed25519 ubuntu@54.73.155.119
  tidepool pool add-ssh -i ~/.ssh/id_rsa -p 2222 -J bastion ubuntu@10.0.0.7 --network 10.0.0.0/24 --name box-7
  tidepool pool add-ssh --from-here -F ~/.ssh/config -o ProxyJump=head 'gpu-node-[1-8]'

  A destination     host, user@host, user@host:port, ssh://user@host:port, user@[2001:db8::7]:22
  Ranges            'node-[1-8]', 'node-[01-16]', 'a[1,3,5-7]'; quote them, or the shell may take them for patterns
  --hosts FILE      one destination a line, # begins a remark

  -i KEY            the control plane connects. It gets the key over TLS, keeps it encrypted, shows it to nobody, and
                    deletes it when the adoption has ended in whatever way. The host's key is the one of --host-key,
                    else one that known_hosts has, else the first one seen; then it is pinned. The host after -J is one
                    that the control plane resolves: aliases of your ssh_config need --from-here.
  --from-here       ssh connects, from here, with your ssh_config, agent, ProxyJump and ControlMaster; all options of
                    ssh(1) are understood, no key leaves this computer, and ssh decides about host keys. Either way
                    the control plane writes the scripts, and they run as root on the host.

  Nodes of one run are hosts of one network: one --network (else the one their address is in) of one --region. Without
  --region hosts behind different jump hosts are different networks, even if the CIDR is the same.

  tidepool host check … makes the checks and changes nothing. Each is pass, warn or fail, with what was found and the
  command that puts it right. The same add-ssh again goes on where it stopped, and passes over hosts that are done.
"""
NODES = """\
Runs on several nodes

  tidepool run --nodes 2 --gpu H100:8 -- torchrun train.py

  All nodes are of one cluster: one network of your own servers (`pool add-ssh --network`), or one region of one
  account. What is idle there is taken together, what is missing is bought there, and no job begins before all have
  their machine. What cannot be had together is given back. --reuse never buys; --explain says what would be done.
  Each job begins when its machine's agent next asks; one that does not for minutes, where others have, fails the run.

  MASTER_ADDR, MASTER_PORT, NODE_RANK, NNODES   as torch.distributed reads them; the address is that of node 0, the
                                    port 29500 unless `-e MASTER_PORT=…` says otherwise
  PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT, PET_NPROC_PER_NODE
                                    the defaults of torchrun's options: `torchrun train.py` needs none
  TIDEPOOL_NODES_IPS                the addresses of all nodes by rank, one a line
  TIDEPOOL_MPI_HOSTS                the same with a slot for each GPU: mpirun --host "$TIDEPOOL_MPI_HOSTS"; mpirun
                                    itself needs a way to log in from node to node, which is yours to give
  TIDEPOOL_GPUS_PER_NODE            GPUs of this node;  TIDEPOOL_GPUS_NUM: of all
  DSTACK_NODE_RANK, DSTACK_NODES_NUM, DSTACK_NODES_IPS, DSTACK_MASTER_NODE_IP, DSTACK_GPUS_PER_NODE, DSTACK_GPUS_NUM
                                    the same for what was written for dstack

  A run on one machine has them too, as defaults: what is written for several nodes runs on one.

  The output of all nodes comes together, each line behind its [rank]; `tidepool logs --node 1 NAME` shows one alone.
  The first node that fails ends the run: the others are stopped, the exit code is its, and `ps --all` names it.
"""
TOPICS = {
    "exit-codes": EXIT_CODES,
    "environment": ENVIRONMENT,
    "requirements": REQUIREMENTS,
    "hosts": HOSTS,
    "nodes": NODES,
    "profiles": PROFILES,
    "run-file": RUN_FILE,
}


def show_help(words: Sequence[str], commands: Mapping[str, Entry]) -> int:
    """Answer `help`, `help TOPIC` and `help COMMAND`."""
    if not words or words[0].startswith("-"):
        sys.stdout.write(overview(commands))
        return 0
    if words[0] in TOPICS:
        sys.stdout.write(TOPICS[words[0]])
        return 0
    from tidepool.main import dispatch

    return dispatch([*words, "--help"])


def show_group(name: str, commands: Mapping[str, Entry], groups: Mapping[str, str]) -> int:
    """List the commands of one group."""
    own = {command: entry for command, entry in commands.items() if command.startswith(name + " ")}
    also = f"\n`tidepool {name}` alone is `tidepool {name} list`.\n" if name == "pool" else "\n"
    sys.stdout.write(f"usage: tidepool {name} COMMAND …\n\n{groups[name].capitalize()}.\n\n{_listed(own)}{also}")
    sys.stdout.write(f"See `tidepool {name} COMMAND --help`.\n")
    return 0


def overview(commands: Mapping[str, Entry]) -> str:
    """All commands, each with a line."""
    return (
        "usage: tidepool COMMAND …\n\n"
        "Pools of compute instances: filled by the cheapest match, reused at once, drained when idle.\n\n"
        f"{_listed(commands)}\n"
        "See `tidepool COMMAND --help`, and `tidepool help` with one of: " + ", ".join(TOPICS) + ".\n"
    )


def _listed(commands: Mapping[str, Entry]) -> str:
    width = max(map(len, commands))
    return "".join(f"  {name:<{width}}  {entry[2]}\n" for name, entry in commands.items())


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that was most likely meant, or nothing."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1, cutoff=0.6)), "")
