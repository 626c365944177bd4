"""How long runs will take: first from a few timed steps, then from the runs that have ended."""

from collections.abc import Sequence

from ddpbench.arm import Arm
from ddpbench.questions import Machine
from ddpbench.study.designs import StepS
from ddpbench.study.plan import Job

# One gradient exchange between processes of one host, and what waiting for it adds.
COMM_STEP_S = {"gloo": 0.003, "nccl": 0.001, "shm": 0.0005, "none": 0.0, None: 0.0}
JUDGE_S = 8.0  # to judge a study and draw its charts


def step_s(arm: Arm, alone_s: float, cores: int, *, on_gpu: bool) -> float:
    """Estimate the seconds of a step of an arm from `alone_s`, those of one process with a rank's work.

    More threads than cores take turns; and then gradients wait for whoever has its turn last.
    """
    crowd = 1.0 if on_gpu else max(1.0, arm.world_size * arm.threads_per_rank / cores)
    return alone_s * crowd + (COMM_STEP_S[arm.comm] * crowd if arm.world_size > 1 else 0.0)


def run_s(job: Job, step: StepS, machine: Machine) -> float:
    """Estimate the seconds of one run, start-up and evaluation included."""
    seconds = step(job.arm, job.global_batch)
    steps = job.steps or machine.num_train // job.global_batch
    test_s = seconds / 3 * machine.num_test / job.global_batch  # forward only
    # torchrun imports torch, and then every rank does: more ranks than cores take turns at it.
    imports = 1 + max(1.0, job.arm.world_size / machine.environment.cores) if job.arm.kind == "ddp" else 1.0
    return imports * machine.start_s + job.epochs * (seconds * steps + test_s)


class Forecast:
    """What is left of a study, in seconds."""

    def __init__(self, estimates_s: dict[Job, float]) -> None:
        """`estimates_s` holds the first estimate of every job."""
        self._estimates_s = estimates_s
        self._took_s: dict[Job, float] = {}

    def expect(self, estimates_s: dict[Job, float]) -> None:
        """Add jobs that were not planned at first."""
        self._estimates_s |= estimates_s

    def took(self, job: Job, seconds: float) -> None:
        """Note how long a run took, attempts and all."""
        self._took_s[job] = seconds

    def job_s(self, job: Job) -> float:
        """Estimate a run: as long as the same run took with other seeds, else its first estimate, corrected."""
        alike = [s for other, s in self._took_s.items() if other.with_seed(job.seed) == job]
        if alike:
            return sum(alike) / len(alike)
        expected_s = sum(self._estimates_s[other] for other in self._took_s)
        return self._estimates_s[job] * (sum(self._took_s.values()) / expected_s if expected_s else 1.0)

    def left_s(self, todo: Sequence[Job], elapsed_s: float = 0.0) -> float:
        """Estimate the seconds until the answer, when the first of `todo` has run for `elapsed_s`."""
        first_s = max(0.0, self.job_s(todo[0]) - elapsed_s) if todo else 0.0
        return first_s + sum(map(self.job_s, todo[1:])) + JUDGE_S


def minutes(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 4 min."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
