"""A component of TorchX: the same line of launch.sh on several hosts.

torchx run --scheduler slurm docs/hosts/component.py:hosts --count 2 -- run --ranks 2

Start it in the folder of launch.sh. TorchX makes each host a part of its own of a Slurm job, so that Slurm's variables
say "one node" to every host. Flags count before variables, and give the shape instead.
"""

import shlex

from torchx import specs


def hosts(
    *words: str, count: int = 2, cpu: int = 2, gpu: int = 0, memory_mb: int = 4096, retries: int = 0, port: int = 29400
) -> specs.AppDef:
    """Run launch.sh on several hosts.

    Args:
        words: of launch.sh
        count: hosts
        cpu: cores of each host
        gpu: GPUs of each host
        memory_mb: memory of each host
        retries: how often the job is started again after any exit code but 0; give --resume with it
        port: of host 0's line; the parts of a Slurm job have numbers of their own, so it cannot follow from them
    """
    shape = f"--nnodes {count} --node-rank {specs.macros.replica_id} --master-port {port}"
    # The scheduler puts the name of a variable into the macro, and the variable has host 0's name: "$$" becomes "$".
    line = f'exec bash launch.sh {shlex.join(words)} {shape} --master-addr "$${{{specs.macros.rank0_env}}}"'
    return specs.AppDef(
        name="ddpbench",
        roles=[
            specs.Role(
                name="host",
                image="",
                entrypoint="bash",
                args=["-c", line],
                num_replicas=count,
                max_retries=retries,
                resource=specs.Resource(cpu=cpu, gpu=gpu, memMB=memory_mb),
            )
        ],
    )
