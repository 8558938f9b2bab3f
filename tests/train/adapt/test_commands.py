"""What adapt starts, and how that ends."""

import pytest

from preprocess.errors import WholewordError
from train.adapt import commands


def test_ctrl_c_waits_for_the_command_to_save(tmp_path):
    """It is pressed as soon as the command runs, which takes longer to save than a moment."""
    script = (
        "import os, pathlib, signal, sys, time; os.kill(os.getppid(), signal.SIGINT); "
        "time.sleep(0.6); pathlib.Path(sys.argv[1]).touch()"
    )
    with pytest.raises(KeyboardInterrupt):
        commands.run_command(["python", "-c", script, str(tmp_path / "saved")], print)
    assert (tmp_path / "saved").exists()


def test_a_command_that_the_system_has_killed_is_not_ctrl_c():
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(WholewordError, match=r"was ended by SIGKILL, .* memory is short; run"):
        commands.run_command(["python", "-c", script], print)
