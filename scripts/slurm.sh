#!/bin/bash
# A training on several machines of a SLURM cluster, eight GPUs each:
#
#   sbatch --nodes 4 scripts/slurm.sh clip-shapes --train.parallel fsdp --train.batch-size 4096
#
# Two minutes before the time limit SLURM sends SIGTERM, which torchrun hands on: the training saves and leaves, and the
# job is queued again. --resume goes on from the newest checkpoint, and begins where there is none.
#SBATCH --job-name=calligram
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}          # threads of a process: cores of a machine / its processes
export TORCH_NCCL_ASYNC_ERROR_HANDLING=1              # a process that fails ends the job, not hangs it
export CALLIGRAM_CACHE=${CALLIGRAM_CACHE:-${TMPDIR:-/tmp}/calligram}  # shards from elsewhere, on a disk of the machine
# export NCCL_SOCKET_IFNAME=ib0                       # where the machines have several networks

status=0
srun --kill-on-bad-exit=1 bash -c 'exec torchrun \
    --nnodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" --nproc-per-node "${GPUS:-8}" \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "'"$HEAD"':29500" \
    -m calligram train "$@" --resume' bash "$@" || status=$?

# torchrun has a status of its own; a training that was told to go has said so in its run
RUN=runs/$1
if [ "$status" -ne 0 ] && [ -f "$RUN/interrupted" ]; then
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
