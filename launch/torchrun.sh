#!/usr/bin/env bash
# Run one stage on one machine or on several, with one rank per GPU.
#
#   launch/torchrun.sh configs/paper/shapes3d.yaml [key=value ...]
#
# For several machines, start the same line on each. Set NNODES, and set HEAD to a host:port of one of them that all
# can reach:
#
#   NNODES=4 HEAD=node0:29400 launch/torchrun.sh configs/paper/shapes3d.yaml run.dir=/shared/runs/paper
#
# All machines must see run.dir. RANKS sets the ranks per machine (default: its GPUs, or 1), STAGE the command
# (default: disentangle), and LOCAL_ADDR the address of this machine if its name does not resolve to it. If a rank
# dies, all of them end; start the same line again to continue.
#
# To keep a job in a file, copy this one and edit three places; `detaux launch --dry-run torchrun` prints the file with
# all three filled in.
set -euo pipefail

# 1. CONFIG.yaml key=value ..., before "$@"
set -- "$@"
# 2. machines
NNODES=${NNODES:-1}
# 3. ranks on each machine; gpus: as many as it has GPUs
RANKS=${RANKS:-gpus}

if ((NNODES > 1)) && [[ -z ${HEAD:-} ]]; then
  echo "torchrun.sh: NNODES=$NNODES needs HEAD, a host:port of one of the machines that all can reach." >&2
  exit 2
fi
[[ $RANKS != gpus ]] || RANKS=$(python -c "import torch; print(max(1, torch.cuda.device_count()))")
address=()
if [[ -n ${LOCAL_ADDR:-} ]]; then # torchrun compares names to find HEAD; this compares addresses
  is_host=0
  [[ ${HEAD%:*} != "$LOCAL_ADDR" ]] || is_host=1
  address=(--local-addr "$LOCAL_ADDR" --rdzv-conf "is_host=$is_host")
fi
exec python -m torch.distributed.run \
  --nnodes "$NNODES" \
  --nproc-per-node "$RANKS" \
  --rdzv-backend c10d \
  --rdzv-endpoint "${HEAD:-127.0.0.1:0}" \
  --rdzv-id "${RUN_ID:-detaux}" \
  "${address[@]}" \
  -m detaux "${STAGE:-disentangle}" "$@"
