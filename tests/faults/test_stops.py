"""Runs that are told to stop, and launchers that die: all is saved or plainly missing, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ddpbench import config
from ddpbench.arm import Arm
from ddpbench.record import read_record
from ddpbench.study import folders
from ddpbench.study.plan import Job, Plan, Request
from ddpbench.tasks import task
from ddpbench.train import checkpoint
from ddpbench.turns import FIRST_LOOK, TurnArm
from tests import warm
from tests.conftest import ONE_CORE
from tests.faults.conftest import end_of, start_unsupervised
from tests.faults.launching import (
    SAVING,
    SHORT,
    Clean,
    Ended,
    alone,
    answers,
    ddp,
    marked,
    nothing_left,
    partial_files,
    run,
    start,
    training,
    wait_for,
)
from tests.records import make_launch, put

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
long = pytest.mark.long


def has_checkpoint(results: Path) -> bool:
    return any(checkpoint.generations(folder) for folder in results.glob("**/*.checkpoint"))


def stop(command: list[str], results: Path, how: Callable[["subprocess.Popen[str]", str], None]) -> Ended:
    """Start a run, wait for its first checkpoint, and do something to it."""
    with nothing_left(results) as mark:
        process = start(command, mark)
        wait_for(lambda: has_checkpoint(results) or process.poll() is not None)
        how(process, mark)
        out, err = process.communicate(timeout=60)
    return Ended.of(process.returncode, out, err, results)


def ranks(mark: str) -> list[psutil.Process]:
    """Return the ranks of a run, in their order."""
    return training(mark, "ddp_train.py")


def slowly(*flags: str) -> list[str]:
    """Make a run of gloo last: each reduction takes 20 ms longer."""
    return ["--comm", "gloo", "--hook", "tests/hooks/losses.py:slow-reduction=0.02", *flags]


def test_a_signal_to_one_rank_stops_all_after_the_same_step_and_the_same_command_finishes(
    clean: Clean, tmp_path: Path
) -> None:
    """To torchrun's agent it is the same: it passes the signal on to every rank."""
    results = tmp_path / "results"
    fault = ("--comm", "shm", "--hook", "tests/hooks/faults.py:term=1@150")
    stopped = run(ddp(results, *fault), results)

    assert stopped.code == 75, stopped.err
    assert stopped.record.status == "preempted"
    assert "rank 1 at epoch 2, step 59: told to stop: saved after epoch 2, step 59" in stopped.cause, "step 150 + 2"
    (folder,) = results.glob("*.checkpoint")
    assert checkpoint.generations(folder)[0].name == "000002-00000059"
    finished = end_of(start_unsupervised("shm", tmp_path, "--resume"), tmp_path)
    assert finished.code == 0, finished.err
    assert (finished.record.status, finished.record.attempts) == ("complete", 2)
    assert (finished.weights, finished.learnt) == (clean("shm").weights, clean("shm").learnt)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGUSR1, pytest.param(signal.SIGINT, marks=long), pytest.param(signal.SIGUSR2, marks=long)],
)
def test_a_single_process_saves_when_it_is_told_to_stop(number: signal.Signals, tmp_path: Path) -> None:
    stopped = stop(alone(tmp_path, "--epochs", "40"), tmp_path, lambda process, _: process.send_signal(number))

    assert stopped.code == 75, stopped.err
    assert stopped.record.status == "preempted"
    assert stopped.cause.startswith("baseline_train.py: told to stop: saved after epoch ")
    assert has_checkpoint(tmp_path)


def test_a_signal_in_the_middle_of_a_checkpoint_waits_for_its_end(tmp_path: Path) -> None:
    """It comes while the kernel brings the file to the disk."""
    script = """if True:
        import os, runpy, signal
        fsync = os.fsync
        def interrupted(handle):
            if ".checkpoint/" in os.readlink(f"/proc/self/fd/{handle}") and not os.path.exists("/proc/self/fd/99"):
                os.dup2(handle, 99)
                os.kill(os.getpid(), signal.SIGTERM)
            fsync(handle)
        os.fsync = interrupted
        runpy.run_path("baseline_train.py", run_name="__main__")
    """
    command = alone(tmp_path)
    command[1:2] = ["-c", script]
    ended = run(command, tmp_path)
    (folder,) = tmp_path.glob("*.checkpoint")

    assert ended.code == 75, ended.err
    assert [path.name for path in checkpoint.generations(folder)] == ["000001-00000012", "000001-00000010"]
    assert "saved after epoch 1, step 12" in ended.cause, "asked for in step 10"


@pytest.mark.long
def test_ranks_that_see_different_folders_go_on_from_that_of_rank_0(tmp_path: Path) -> None:
    """As on machines without a common file system."""
    whole = run(ddp(tmp_path / "whole", "--comm", "gloo"), tmp_path / "whole")
    left = run(ddp(tmp_path / "0", "--comm", "gloo", "--hook", "tests/hooks/faults.py:term=1@150"), tmp_path / "0")
    script = f'exec "$0" ddp_train.py "$@" --results {tmp_path}/$RANK'
    torchrun = ["torchrun", "--nproc_per_node=2", f"--log-dir={tmp_path}/logs", "--no-python", "bash", "-c", script]
    flags = [*SHORT, *SAVING, "--comm", "gloo", "--resume"]
    ended = run([*torchrun, sys.executable, *flags], tmp_path / "0")

    assert left.code == 75, left.err
    assert ended.code == 0, ended.err
    assert ended.found[1] == whole.found[1], "to the bit"
    assert not [*(tmp_path / "1").iterdir()]


def kill_supervisor(process: "subprocess.Popen[str]", mark: str) -> None:
    """Its run gets SIGTERM and saves. Ranks that nobody hears any more let the first of them speak."""
    process.kill()
    wait_for(lambda: not marked(mark), 6)


def stop_a_rank_then_everything(process: "subprocess.Popen[str]", mark: str) -> None:
    ranks(mark)[1].suspend()
    process.terminate()


@pytest.mark.parametrize(
    ("how", "codes"),
    [
        (kill_supervisor, {-signal.SIGKILL}),
        pytest.param(stop_a_rank_then_everything, {4, 6, 75}, marks=pytest.mark.long),
    ],
)
def test_torchrun_that_is_stopped_or_killed_leaves_nothing_but_a_run_to_resume(
    how: Callable[["subprocess.Popen[str]", str], None], codes: set[int], tmp_path: Path
) -> None:
    ended = stop(ddp(tmp_path, *slowly()), tmp_path, how)

    assert ended.code in codes, ended.err
    assert ended.record.status in {"running", "preempted", "failed"}
    assert has_checkpoint(tmp_path)
    assert ended.code < 0 or not partial_files(tmp_path)


def agent(mark: str) -> psutil.Process:
    asked = answers(marked(mark), lambda each: (each, each.cmdline()))
    (found,) = [process for process, words in asked if "ddpbench.train.agent" in words]
    return found


@long
def test_a_torchrun_that_somebody_else_tells_to_stop_saves_and_is_not_started_again(tmp_path: Path) -> None:
    ended = stop(ddp(tmp_path, *slowly()), tmp_path, lambda _, mark: agent(mark).terminate())

    assert ended.code == 75, ended.err
    assert "told to stop: saved after" in ended.cause
    assert ended.record.status == "preempted"


STILL_S = 9.0  # longer than a rank waits for another, and longer than a process may be silent


def stand_still(processes: Callable[[str], list[psutil.Process]]) -> Callable[["subprocess.Popen[str]", str], None]:
    """Stop processes of a run for a while, as Ctrl-Z, a frozen container or a suspended job does."""

    def stop_and_continue(_: "subprocess.Popen[str]", mark: str) -> None:
        chosen = processes(mark)
        answers(chosen, psutil.Process.suspend)
        time.sleep(STILL_S)
        answers(chosen, psutil.Process.resume)

    return stop_and_continue


def newest_epoch(results: Path) -> int:
    """Return the epoch of the newest checkpoint."""
    (folder,) = results.glob("*.checkpoint")
    return int(checkpoint.generations(folder)[0].name[:6])


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run that stands still, whose torchrun is killed later, and that is then told to stop three times."""
    results = tmp_path_factory.mktemp("troubled")
    with nothing_left(results) as mark:
        process = start(ddp(results, "--comm", "shm", "--epochs", "400"), mark)
        wait_for(lambda: has_checkpoint(results))
        stand_still(marked)(process, mark)
        still = newest_epoch(results)  # or in the next one
        wait_for(lambda: newest_epoch(results) > still + 2)
        agent(mark).kill()
        wait_for(lambda: {read_record(path).attempts for path in results.glob("*.json")} == {2})
        for _ in range(3):
            process.terminate()
        out, err = process.communicate(timeout=60)
    return Ended.of(process.returncode, out, err, results)


def require_untimed(ended: Ended) -> None:
    """Require that no rank is blamed for a stop, and that only the epochs with the stop in them lasted so long."""
    assert "did not bring its gradients" not in ended.err
    still = [epoch.epoch for epoch in ended.record.epochs if epoch.suspended or epoch.resumed]
    assert 1 <= len(still) <= 2
    assert all(epoch.train_s < STILL_S for epoch in ended.record.epochs if epoch.epoch not in still)


def test_a_run_that_stood_still_goes_on_and_that_epoch_is_not_timed(troubled: Ended) -> None:
    require_untimed(troubled)
    assert any(epoch.suspended for epoch in troubled.record.epochs)
    assert not troubled.record.epochs[-1].suspended, "it went on"


def test_a_torchrun_that_is_killed_is_started_again(troubled: Ended) -> None:
    """Its ranks die with it; the process above them decides."""
    assert troubled.record.attempts == 2
    assert "torchrun's agent was killed by SIGKILL" in troubled.err


def test_several_signals_in_a_row_are_as_one(troubled: Ended) -> None:
    assert troubled.code == 75, troubled.err
    assert troubled.record.status == "preempted"
    assert has_checkpoint(troubled.results)
    assert not partial_files(troubled.results)


@long
@pytest.mark.parametrize(
    ("command", "processes", "attempts"),
    [
        (alone, marked, {1}),
        (alone, lambda mark: training(mark, "baseline_train.py"), {1}),
        # gloo's own clock runs out meanwhile: the run goes on from its checkpoint, and no rank is blamed.
        (lambda *words: ddp(*words, "--comm", "gloo"), marked, {1, 2}),
    ],
    ids=["one process and its watchdog", "one process alone", "ranks with gloo"],
)
def test_other_runs_that_stood_still_go_on_too(
    command: Callable[..., list[str]],
    processes: Callable[[str], list[psutil.Process]],
    attempts: set[int],
    tmp_path: Path,
) -> None:
    ended = stop(command(tmp_path, "--epochs", "20"), tmp_path, stand_still(processes))

    assert ended.code == 0, ended.err
    assert ended.record.attempts in attempts
    require_untimed(ended)


FREEZER = Path("/sys/fs/cgroup/freezer")


@long
def test_a_frozen_container_goes_on_too(tmp_path: Path) -> None:
    """No process of it is told, neither before nor after: `docker pause` does the same."""
    if not os.access(FREEZER, os.W_OK):
        pytest.skip("only root can freeze a control group, and this machine has to have the freezer of version 1")
    group = FREEZER / tmp_path.name

    def freeze(_: "subprocess.Popen[str]", mark: str) -> None:
        group.mkdir()
        for each in marked(mark):
            (group / "cgroup.procs").write_text(str(each.pid))
        (group / "freezer.state").write_text("FROZEN")
        time.sleep(STILL_S)
        (group / "freezer.state").write_text("THAWED")

    try:
        ended = stop(ddp(tmp_path / "results", "--epochs", "20"), tmp_path / "results", freeze)
    finally:
        group.rmdir()

    assert ended.code == 0, ended.err
    assert ended.record.attempts == 1
    assert 1 <= [epoch.suspended for epoch in ended.record.epochs].count(True) <= 2


def test_a_short_stop_is_marked_too(tmp_path: Path) -> None:
    """Half a second is counted as training by every clock, and so the epoch is not timed."""

    def tap(process: "subprocess.Popen[str]", _: str) -> None:
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGCONT)

    ended = stop(alone(tmp_path, "--epochs", "20"), tmp_path, tap)

    assert ended.code == 0, ended.err
    assert [epoch.suspended for epoch in ended.record.epochs].count(True) in {1, 2}


STUDY = ("--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "1", "--checkpoint-every", "5")
SLOW = ("--hook", "tests/hooks/losses.py:slow-reduction=0.2")  # a DDP run lasts, and a single process does not


def study(results: Path, *flags: str) -> list[str]:
    """A study on one core, where it has the fewest arms."""
    chosen = ["--world-sizes", "2", "--seeds", "0", "--results", str(results)]
    return [*ONE_CORE, "bash", "launch.sh", *STUDY, *chosen, *flags]


def put_measured_study(results: Path) -> Path:
    """Write what the study has left when its launches are over and its runs have not begun. Returns its folder."""
    cfg = config.parse([*STUDY, *SLOW])
    found = task.of(cfg)
    settings = found.settings(cfg, "cpu", found.step(cfg).net, found.data(cfg))
    arms = [Arm("baseline", 1, 1, None), Arm("ddp", 2, 1, "gloo")]
    turns = [TurnArm(arm=arm, global_batch=settings.global_batch) for arm in arms]
    request = Request(
        design="comparison",
        seeds=[0],
        world_sizes=[2],
        batches=[],
        settings=settings,
        injected=cfg.injected,
        comms=["gloo", "shm"],
    )
    jobs = [Job(arm=arm, seed=0) for arm in arms]
    folder = results / "20261126-000000"
    folder.mkdir()
    folders.write_plan(folder, Plan(request=request, turns=turns, jobs=jobs, is_measured=True))
    put(folder, make_launch(truth=dict.fromkeys(turns, 0.01), settings=settings))
    return folder


def at_its_ddp_run(results: Path) -> bool:
    return any(checkpoint.generations(folder) for folder in results.glob("*/*ddp*.checkpoint"))


def in_its_rounds(results: Path) -> bool:
    """Whether the ranks of a launch have built all arms: then the note of it is among the events."""
    return any('"what":"begun"' in path.read_text() for path in results.glob("*/study.jsonl"))


def as_on_a_terminal(number: signal.Signals, times: int = 1) -> Callable[["subprocess.Popen[str]"], None]:
    def send(process: "subprocess.Popen[str]") -> None:
        for _ in range(times):
            os.killpg(process.pid, number)

    return send


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param(as_on_a_terminal(signal.SIGINT, times=3), 130, marks=pytest.mark.long),
        pytest.param(as_on_a_terminal(signal.SIGHUP), 129, marks=pytest.mark.long),
        (lambda process: process.terminate(), 75),
        pytest.param(lambda process: process.send_signal(signal.SIGUSR1), 75, marks=pytest.mark.long),
        pytest.param(lambda process: process.kill(), -signal.SIGKILL, marks=pytest.mark.long),
    ],
    ids=["three Ctrl-C", "terminal closed", "SIGTERM", "SIGUSR1", "SIGKILL"],
)
def test_a_study_that_is_stopped_keeps_its_finished_runs_and_saves_the_one_it_is_at(
    how: Callable[["subprocess.Popen[str]"], None], code: int, tmp_path: Path
) -> None:
    folder = put_measured_study(tmp_path)
    with nothing_left(tmp_path, within_s=10) as mark:
        process = start(study(tmp_path, *SLOW, "--resume"), mark)
        wait_for(lambda: at_its_ddp_run(tmp_path) or process.poll() is not None)
        how(process)
        _, err = process.communicate(timeout=60)

    assert process.returncode == code, err
    records = [read_record(path) for path in sorted(folder.glob("2*.json"))]
    assert [(record.kind, record.status) for record in records] == [("baseline", "complete"), ("ddp", "preempted")]
    assert not partial_files(tmp_path)
    assert code < 0 or "the same command with --resume goes on" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param(as_on_a_terminal(signal.SIGINT, times=3), 130, marks=pytest.mark.long),
        (lambda process: process.terminate(), 75),
        pytest.param(lambda process: process.kill(), -signal.SIGKILL, marks=pytest.mark.long),
    ],
    ids=["three Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_a_study_that_is_stopped_in_a_launch_loses_that_launch_alone(
    how: Callable[["subprocess.Popen[str]"], None], code: int, tmp_path: Path
) -> None:
    with nothing_left(tmp_path, within_s=10) as mark:
        process = start(study(tmp_path, "--minutes", "10"), mark)
        wait_for(lambda: in_its_rounds(tmp_path) or process.poll() is not None)
        how(process)
        _, err = process.communicate(timeout=60)

    assert process.returncode == code, err
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert {path.name for path in folder.iterdir()} == {"plan.json", "study.jsonl", "logs"}
    assert not partial_files(tmp_path)
    assert code < 0 or "the same command with --resume goes on" in err.splitlines()[-1]


@pytest.mark.long
def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    def close_terminal(process: "subprocess.Popen[str]", mark: str) -> None:
        os.killpg(process.pid, signal.SIGHUP)
        for rank in ranks(mark):
            rank.send_signal(signal.SIGHUP)

    ended = stop(["nohup", *ddp(tmp_path, "--comm", "gloo")], tmp_path, close_terminal)

    assert ended.code == 0, ended.err
    assert ended.record.attempts == 1


@pytest.mark.long
def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """The same command with --resume: finished runs are not run again, and the one that was stopped is resumed."""
    flags = ["--dataset", "synthetic", "--device", "cpu", "--model", "mlp", "--epochs", "30", "--minutes", "0.1"]
    flags += ["--results", str(tmp_path)]
    with nothing_left(tmp_path) as mark:
        process = start(["bash", "launch.sh", *flags], mark, SEEDS="0", WORLD_SIZES="1")
        wait_for(lambda: [len([*tmp_path.glob(name)]) for name in ("*/*.checkpoint", "*/2*.json")] == [1, 2], 150)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*/2*.json")}
    env = {"SEEDS": "0", "WORLD_SIZES": "1"}
    ended = run(["bash", "launch.sh", *flags, "--resume"], tmp_path / "none", timeout_s=200, **env)

    assert ended.code == 0, ended.err
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    records = {path.name: read_record(path) for path in folder.glob("2*.json")}
    assert f"going on with {folder}: {FIRST_LOOK} launches, 1 run of 2 complete" in " ".join(ended.err.split())
    assert {name for name in before if (folder / name).read_bytes() == before[name]} == {
        name for name in before if records[name].attempts == 1
    }
    assert sorted(record.attempts for name, record in records.items() if name in before) == [1, 2]
    assert all(record.status == "complete" for record in records.values())
    assert "took 2 attempts" in ended.out


def test_two_runs_do_not_share_a_folder_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with nothing_left(results) as mark:
        first = start(alone(results, "--epochs", "200"), mark)
        wait_for(lambda: has_checkpoint(results))
        second = warm.run(*alone(results)[1:], folder=tmp_path)
        first.kill()
        first.communicate()
    third = warm.run(*alone(results, "--epochs", "1")[1:], folder=tmp_path)

    assert second.returncode == 2
    assert second.stderr == (
        f"baseline_train.py: {results} is in use by baseline_train.py, process {first.pid}; "
        "wait for it, or choose another --results\n"
    )
    assert third.returncode == 0, third.stderr


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (proc_pid_status(5), SigCgt)."""
    caught = int(Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("wait_s", [0.3, 1.0])
def test_a_launcher_that_is_told_to_stop_while_it_imports_torch_says_so(wait_s: float, tmp_path: Path) -> None:
    """The soak found it: for two seconds the signal itself ended the launcher, and 75 was not said."""
    with nothing_left(tmp_path) as mark:
        process = start(ddp(tmp_path), mark)
        wait_for(lambda: catches(process.pid, signal.SIGTERM))
        time.sleep(wait_s)
        process.terminate()
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err.count("\n")) == (75, 1), err
    assert "the same command with --resume goes on" in err
    assert not [*tmp_path.iterdir()]


def test_a_launcher_whose_launch_sh_has_gone_does_not_begin(tmp_path: Path) -> None:
    """It may be killed in the moment before its child has asked to be told of it."""
    agent = [sys.executable, "-m", "ddpbench.train.agent", "2", "ddp_train.py", *SHORT, "--results", str(tmp_path)]
    with nothing_left(tmp_path) as mark:
        ended = [start(command, mark, DDPBENCH_LAUNCH='{"parent": 1}') for command in (agent, alone(tmp_path))]
        codes = [(each.communicate(timeout=60), each.returncode)[1] for each in ended]

    assert codes == [75, -signal.SIGTERM]
    assert not [*tmp_path.iterdir()]


def test_a_command_that_a_shell_put_into_the_background_still_ends_with_it(tmp_path: Path) -> None:
    """Its parent, not a terminal, is what it must not outlive: launch.sh says who that is."""
    script = f"DDPBENCH_LAUNCH='{{\"parent\":'$$'}}' {' '.join(alone(tmp_path, '--epochs', '200'))} & wait"
    with nothing_left(tmp_path) as mark:
        shell = start(["bash", "-c", script], mark)
        wait_for(lambda: has_checkpoint(tmp_path))
        shell.kill()
        shell.communicate()
    (path,) = tmp_path.glob("*.json")

    assert read_record(path).status == "preempted"
