#!/usr/bin/env bash
# A Slurm job of several hosts. It saves when Slurm wants the nodes back, and goes on when it has nodes again.
#   sbatch docs/hosts/slurm.sh                              a study; all words after the file go to launch.sh
#   sbatch --nodes=4 docs/hosts/slurm.sh run --ranks 2      options before the file count more than the lines below
# Submit it in the folder of launch.sh. That folder has to be the same on all nodes, as a home folder is.
#SBATCH --job-name=ddpbench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=02:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=ddpbench-%j.log
set -u
DDPBENCH_SECRET=$(head -c 24 /dev/urandom | base64) # hosts prove by it that they belong to this job
export DDPBENCH_SECRET
resume=() code=0
[ -z "${SLURM_RESTART_COUNT-}" ] || resume=(--resume)
# A host that ends does not end the others: they save, and all end with the exit code of host 0, or are lost after 60 s.
srun --export=ALL --cpu-bind=none --kill-on-bad-exit=0 --wait=60 bash launch.sh "$@" ${resume[@]+"${resume[@]}"} || code=$?
# Not needed where slurm.conf has RequeueExit=75, and does no harm there.
if [ "$code" -eq "${EXIT_AGAIN:-75}" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
