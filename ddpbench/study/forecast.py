"""How long runs will take: estimated from a few timed steps, and then from the runs that have ended."""

from collections.abc import Mapping, Sequence

from ddpbench.arm import Arm
from ddpbench.questions import Machine
from ddpbench.study.designs import StepS
from ddpbench.study.plan import Job

# Seconds that one reduction of gradients between processes of one host adds to a step, waiting included.
COMM_STEP_S = {"gloo": 0.003, "nccl": 0.001, "shm": 0.0005, "none": 0.0, None: 0.0}
JUDGE_S = 8.0  # to judge a study and draw its charts
CHECK_S = 5.0  # a run that checks the prediction of a sweep


def step_s(arm: Arm, alone_s: float, cores: int, *, on_gpu: bool) -> float:
    """Estimate the seconds of a step of an arm from `alone_s`, those of one process with the work of a rank.

    More threads than cores take turns, and gradients then wait for the rank that has the last turn.
    """
    crowd = 1.0 if on_gpu else max(1.0, arm.world_size * arm.threads_per_rank / cores)
    return alone_s * crowd + (COMM_STEP_S[arm.comm] * crowd if arm.world_size > 1 else 0.0)


def run_s(job: Job, step: StepS, machine: Machine) -> float:
    """Estimate the seconds of one run, start-up and evaluation included."""
    seconds = step(job.arm, job.global_batch)
    steps = job.steps or machine.num_train // job.global_batch
    test_s = seconds / 3 * machine.num_test / job.global_batch  # forward only
    # torchrun imports torch, and then every rank does. More ranks than cores take turns.
    imports = 1 + max(1.0, job.arm.world_size / machine.environment.cores) if job.arm.kind == "ddp" else 1.0
    return imports * machine.start_s + job.epochs * (seconds * steps + test_s)


class Forecast:
    """The time that is left of a study, in seconds."""

    def __init__(self, estimates_s: Mapping[Job, float]) -> None:
        """`estimates_s` holds the first estimate of every job."""
        self._estimates_s = dict(estimates_s)
        self._took_s: dict[Job, float] = {}

    def add(self, job: Job, seconds: float) -> None:
        """Add a job that was not planned at first, with its first estimate."""
        self._estimates_s[job] = seconds

    def took(self, job: Job, seconds: float) -> None:
        """Note how long a run took, over all its attempts."""
        self._took_s[job] = seconds

    def job_s(self, job: Job) -> float:
        """Estimate the seconds of a run: the mean of the same run with other seeds.

        Without one, the first estimate, times the ratio of measured to estimated seconds of all runs so far.
        """
        alike = [s for other, s in self._took_s.items() if other.with_seed(job.seed) == job]
        if alike:
            return sum(alike) / len(alike)
        expected_s = sum(self._estimates_s[other] for other in self._took_s)
        return self._estimates_s[job] * (sum(self._took_s.values()) / expected_s if expected_s else 1.0)

    def left_s(self, todo: Sequence[Job], elapsed_s: float = 0.0) -> float:
        """Estimate the seconds until the study is judged. The first of the jobs `todo` has run for `elapsed_s`."""
        first_s = max(0.0, self.job_s(todo[0]) - elapsed_s) if todo else 0.0
        return first_s + sum(map(self.job_s, todo[1:])) + JUDGE_S


def minutes(seconds: float) -> str:
    """Return a duration as people say it: 40 s, 4 min."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
