"""Worker processes that live and die together; here they are small scripts."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from groundwork.errors import UserError
from pipeline import launch_local
from pipeline.process.worker_group import WorkerGroup

OBEDIENT = (
    "import signal, sys\nfor n in (1, 2, 15): signal.signal(n, lambda n, _: sys.exit(128 + n))\n"
)
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); "
WAIT = "print('ready', flush=True); import time; time.sleep(60)"


def group(*scripts, grace_seconds=30.0, **options):
    commands = [[sys.executable, "-c", script] for script in scripts]
    environments = [dict(os.environ)] * len(scripts)
    return WorkerGroup(commands, environments, grace_seconds=grace_seconds, **options)


def test_the_first_worker_is_shown_and_success_is_0(capfd):
    assert group("print('hello')", "print('hidden')").run() == 0
    assert capfd.readouterr().out == "[0] hello\n"


def test_all_are_shown_on_request(capfd):
    assert group("print('hello')", "print('me too')", show_all=True).run() == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] hello", "[1] me too"]


def test_one_that_fails_ends_the_others_and_is_shown(capfd):
    assert group(OBEDIENT + WAIT, "print('why'); raise SystemExit(2)").run() == 2
    shown = capfd.readouterr()
    assert "[1] why" in shown.out
    assert shown.err == "worker 1 ended with exit status 2; stopping the other 1\n"


def test_one_that_is_killed_counts_as_failed(capfd):
    assert group(OBEDIENT + WAIT, "import os; os.kill(os.getpid(), 9)").run() == 137
    assert "worker 1 ended with exit status 137" in capfd.readouterr().err


def test_one_that_does_not_stop_is_killed_after_the_grace():
    assert group(STUBBORN + WAIT, "raise SystemExit(3)", grace_seconds=0.2).run() == 3


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on_once_and_are_no_failure(capfd, sent):
    workers = group(OBEDIENT + WAIT, OBEDIENT + WAIT)

    def stop():
        while "ready" not in workers._last[0] or "ready" not in workers._last[1]:
            time.sleep(0.01)
        os.kill(os.getpid(), sent)

    threading.Thread(target=stop, daemon=True).start()
    assert workers.run() == 128 + sent
    assert capfd.readouterr().err == ""


def test_gpus_are_dealt_out_and_tf_config_is_left_behind():
    environment = {"TF_CONFIG": "{}", "HOME": "x"}
    assert launch_local.worker_environments(environment, 2, []) == [{"HOME": "x"}] * 2
    shares = launch_local.worker_environments(environment, 2, ["0", "1", "2", "3"])
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0,1", "2,3"]
    with pytest.raises(UserError, match=r"2 workers cannot share 1 GPU: choose --workers 1"):
        launch_local.worker_environments(environment, 2, ["0"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "workers is 0"),
        (["--", "--strategy", "mirrored"], "sets strategy, workers"),
        (["--", "--no_such", "1"], "no_such"),
        (["--", "--batch_size", "0"], "batch_size is 0"),
    ],
)
def test_options_are_checked_before_anything_starts(arguments, message):
    with pytest.raises(UserError, match=message):
        launch_local.main(arguments)


def test_a_restart_helps_where_one_was_killed_or_asks_for_it_alone(capfd):
    for script, may_restart in (
        ("import os; os.kill(os.getpid(), 9)", True),
        ("raise SystemExit(75)", True),
        ("raise SystemExit(1)", False),
        ("raise SystemExit(143)", False),  # it was asked to stop, and saved a checkpoint
        ("pass", False),
    ):
        workers = group(script)
        workers.run()
        assert workers.may_restart == may_restart, script
    waiting = OBEDIENT + "print('stands here', flush=True); import time; time.sleep(60)"
    stalled = "import time; time.sleep(1); raise SystemExit(75)"
    assert group(stalled, waiting).run() == 75
    assert "[1] stands here" in capfd.readouterr().out
