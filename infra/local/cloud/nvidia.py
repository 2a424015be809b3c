"""A simulated `nvidia-smi`: a shell script that prints what the driver of a real machine would."""

from shlex import quote
from typing import Final

from infra.local.cloud.catalog import MachineType

DRIVER: Final = "570.124.06"
CUDA: Final = "12.8"

SCRIPT: Final = """\
#!/bin/sh
# Simulated: no GPU is here. Answers the plain call, -L, and --query-gpu=FIELDS --format=csv,noheader,nounits.
product={product} memory={memory} count={count} driver={driver} cuda={cuda}

field() {{
    case "$1" in
        index) echo "$2" ;;
        name | gpu_name) echo "$product" ;;
        uuid | gpu_uuid) printf 'GPU-00000000-0000-4000-8000-%012d\\n' "$2" ;;
        count) echo "$count" ;;
        memory.total | memory.free) echo "$memory$unit" ;;
        memory.used | utilization.gpu) echo "0" ;;
        driver_version) echo "$driver" ;;
        *) echo "Field \\"$1\\" is not a valid field to query." ; return 2 ;;
    esac
}}

query() {{
    gpu=0
    while [ "$gpu" -lt "$count" ]; do
        row=""
        for name in $(echo "$1" | tr ',' ' '); do
            cell=$(field "$name" "$gpu") || {{ echo "$cell"; exit 2; }}
            row="${{row:+$row, }}$cell"
        done
        echo "$row"
        gpu=$((gpu + 1))
    done
}}

list() {{
    gpu=0
    while [ "$gpu" -lt "$count" ]; do
        echo "GPU $gpu: $product (UUID: $(field uuid "$gpu"))"
        gpu=$((gpu + 1))
    done
}}

table() {{
    echo "| NVIDIA-SMI $driver   Driver Version: $driver   CUDA Version: $cuda | (simulated)"
    gpu=0
    while [ "$gpu" -lt "$count" ]; do
        echo "|  $gpu  $product  |  0MiB / ${{memory}}MiB  |  0%  Default |"
        gpu=$((gpu + 1))
    done
}}

fields="" unit=" MiB" header=yes mode=table
for argument in "$@"; do
    case "$argument" in
        --query-gpu=*) fields=${{argument#--query-gpu=}} mode=query ;;
        --format=*)
            case "$argument" in *nounits*) unit="" ;; esac
            case "$argument" in *noheader*) header="" ;; esac
            ;;
        -L | --list-gpus) mode=list ;;
    esac
done
if [ "$mode" = query ] && [ -n "$header" ]; then echo "$fields" | sed 's/,/, /g'; fi
case "$mode" in query) query "$fields" ;; list) list ;; *) table ;; esac
"""


def script(kind: MachineType) -> str:
    """The text of the `nvidia-smi` of one type. The type must have a GPU."""
    if kind.gpu is None:
        raise ValueError(f"{kind.name} has no GPU")
    return SCRIPT.format(
        product=quote(kind.gpu.product),
        memory=kind.gpu.reported_mib,
        count=kind.gpu_count,
        driver=DRIVER,
        cuda=CUDA,
    )
