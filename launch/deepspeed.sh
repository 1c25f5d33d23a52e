#!/usr/bin/env bash
# Run one stage under DeepSpeed's own launcher. Its settings are in deepspeed.json beside this file; all others are in
# the config.
#
#   launch/deepspeed.sh configs/paper/shapes3d.yaml [key=value ...]
#
# Put options of the launcher into OPTIONS, for example OPTIONS="--hostfile hosts --num_nodes 4" or
# OPTIONS="--num_gpus 8". The first machine starts the others by ssh. To keep a job in a file, copy this one and edit two
# places; `detaux launch --dry-run deepspeed` prints the file with both filled in.
set -euo pipefail

# 1. CONFIG.yaml key=value ..., before "$@"
set -- "$@"
# 2. a hostfile: one line per machine with its name and GPUs, as in node0 slots=8; none: all GPUs of this machine
hosts=$(cat <<'END'
END
)

here=$(dirname "$0")
hostfile=()
if [[ -n $hosts ]]; then
  hostfile=(--hostfile "$(mktemp)")
  echo "$hosts" > "${hostfile[1]}"
fi
settings=()
[[ ! -f $here/deepspeed.json ]] || settings=("engine.deepspeed=$here/deepspeed.json")
# shellcheck disable=SC2086 # OPTIONS are words
exec deepspeed "${hostfile[@]}" ${OPTIONS:-} --no_local_rank --module detaux "${STAGE:-disentangle}" "$@" \
  engine.name=deepspeed "${settings[@]}"
