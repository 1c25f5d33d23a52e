#!/usr/bin/env bash
# One stage on one machine or on several, a rank for each GPU.
#
#   launch/torchrun.sh configs/paper/shapes3d.yaml [key=value ...]
#
# On several machines start the same line on each, with NNODES, and with HEAD, a host:port of one of them that all can reach:
#
#   NNODES=4 HEAD=node0:29400 launch/torchrun.sh configs/paper/shapes3d.yaml run.dir=/shared/runs/paper
#
# run.dir must lie where all machines see it. RANKS (default: the GPUs of this machine, or 1) sets the ranks per machine,
# STAGE (default: disentangle) the command, LOCAL_ADDR the address of this machine where its name does not lead to it. A rank
# that dies ends all of them; start the same line again to go on.
#
# To keep a job in a file, copy this one and edit three places; `detaux launch --dry-run torchrun` prints it so.
set -euo pipefail

# 1. CONFIG.yaml key=value ..., before "$@"
set -- "$@"
# 2. machines
NNODES=${NNODES:-1}
# 3. ranks on each; gpus: as many as it has
RANKS=${RANKS:-gpus}

if ((NNODES > 1)) && [[ -z ${HEAD:-} ]]; then
  echo "torchrun.sh: NNODES=$NNODES needs HEAD, a host:port of one of the machines that all can reach." >&2
  exit 2
fi
[[ $RANKS != gpus ]] || RANKS=$(python -c "import torch; print(max(1, torch.cuda.device_count()))")
address=()
if [[ -n ${LOCAL_ADDR:-} ]]; then # torchrun tells by its name whether a machine is HEAD; here by its address
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
