#!/usr/bin/env bash
# One stage under DeepSpeed's own launcher; its settings are in deepspeed.json beside this file, everything else in the config.
#
#   launch/deepspeed.sh configs/paper/shapes3d.yaml [key=value ...]
#
# Options of the launcher go into OPTIONS, for example OPTIONS="--hostfile hosts --num_nodes 4" or OPTIONS="--num_gpus 8".
# To keep a job in a file, copy this one and edit two places; `detaux launch --dry-run deepspeed` prints it so. The first
# machine starts the others by ssh.
set -euo pipefail

# 1. CONFIG.yaml key=value ..., before "$@"
set -- "$@"
# 2. a hostfile: a line for each machine, its name and its GPUs as in node0 slots=8; none: all GPUs of this machine
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
