"""Which environment variables are dropped, which are recorded, and which are the user's own."""

import pytest

from ddpbench import variables
from ddpbench.errors import UserError

STEERS = ["PET_NNODES", "TORCHELASTIC_RUN_ID", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "MASTER_ADDR", "RANK", "LOCAL_RANK"]
BINDS = [
    "OMP_PROC_BIND",
    "OMP_NUM_THREADS",
    "KMP_AFFINITY",
    "GOMP_CPU_AFFINITY",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
]
TRACES = ["ONEDNN_VERBOSE", "DNNL_VERBOSE", "MKL_VERBOSE", "NCCL_DEBUG", "TORCH_LOGS", "TORCH_DISTRIBUTED_DEBUG"]
NEEDED = ["NCCL_P2P_DISABLE", "NCCL_IB_HCA", "LD_PRELOAD", "PYTORCH_CUDA_ALLOC_CONF"]
NOT_OURS = [
    "PATH",
    "CUDA_VISIBLE_DEVICES",
    "PYTHONPATH",
    "HTTPS_PROXY",
    "LD_LIBRARY_PATH",
    "SEEDS",
    "OMPI_COMM_WORLD_RANK",
]


@pytest.mark.parametrize("name", [*STEERS, *BINDS, *TRACES])
def test_what_binds_limits_or_traces_is_dropped_and_what_a_machine_needs_is_kept(name: str) -> None:
    own = dict.fromkeys([name, *NEEDED, *NOT_OURS], "1")

    assert variables.drop(own) == [name]
    assert own.keys() == {*NEEDED, *NOT_OURS}


def test_a_run_by_hand_records_what_changes_how_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*variables.os.environ]:
        if variables.RECORDED.fullmatch(name):
            monkeypatch.delenv(name)
    for name in [*STEERS, *BINDS, *NEEDED, *NOT_OURS]:
        monkeypatch.setenv(name, "1<\n")

    names = {*BINDS, *NEEDED} - {"OMP_NUM_THREADS"}
    assert variables.recorded() == [f"{name}=1??" for name in sorted(names)], "threads are recorded by their number"


def test_what_we_and_torchrun_set_is_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    before = variables.recorded()
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TORCH_NCCL_ASYNC_ERROR_HANDLING", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "lo")

    assert variables.recorded() == before


def test_a_scheduler_may_want_another_exit_code_for_what_can_go_on() -> None:
    assert variables.exit_again({}) == 75
    assert variables.exit_again({"EXIT_AGAIN": "143"}) == 143
    for text in ("70", "4", "0", "256", "-1", "again", "1e2"):
        with pytest.raises(UserError, match=r"EXIT_AGAIN must be an exit code from 8 to 255 but 70, as in 143; got"):
            variables.exit_again({"EXIT_AGAIN": text})
