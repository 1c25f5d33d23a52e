#!/usr/bin/env bash
# One stage under DeepSpeed's own launcher; its settings are in launch/deepspeed.json, everything else in the config.
#
#   launch/deepspeed.sh configs/paper/shapes3d.yaml [key=value ...]
#
# Options of the launcher go into OPTIONS, for example OPTIONS="--hostfile hosts --num_nodes 4" or OPTIONS="--num_gpus 8".
set -euo pipefail

here=$(dirname "$0")
# shellcheck disable=SC2086 # OPTIONS are words
exec deepspeed ${OPTIONS:-} --no_local_rank --module detaux "${STAGE:-disentangle}" "$@" \
  engine.name=deepspeed "engine.deepspeed=$here/deepspeed.json"
