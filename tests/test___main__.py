"""The process around the command line: its streams, its signals, its exit codes."""

import json
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "detaux"]
# the command doctor, whose runner is replaced by what a test hands in
RUN = """
import sys
from detaux import __main__, cli
def act(parsed):
    {act}
cli.HANDLERS["doctor"] = act
sys.argv = ["detaux", "doctor"]
sys.exit(__main__.main())
"""


def run_shell(line):
    return subprocess.run(["bash", "-c", line, *COMMAND], capture_output=True, text=True, check=False)


def run_act(act, **keywords):
    command = [sys.executable, "-c", RUN.format(act=act)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **keywords)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_text_that_the_terminal_lacks_is_spelled_out(encoding, tmp_path):
    config = tmp_path / "\u5199.yaml"
    result = subprocess.run(
        [*COMMAND, "run", str(config)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert result.returncode == 2
    assert result.stderr.decode(encoding) == f"detaux: config file {config} does not exist.\n".encode(
        encoding, "backslashreplace"
    ).decode(encoding)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_stream_is_no_error_and_takes_no_files_place(closed, tmp_path):
    """Without a standard output, the next file that is opened would get its number, and what is printed would end in it."""
    act = f"""import os
    with open({str(tmp_path / "file")!r}, "w") as stream:
        assert stream.fileno() > 2
        print("printed"); os.write(1, b"written"); print("printed", file=sys.stderr)
        stream.write("mine")
    return 5"""
    script = tmp_path / "script.py"
    script.write_text(RUN.format(act=act))
    result = subprocess.run(["bash", "-c", f'"$0" "$1" {closed}', sys.executable, str(script)], check=False)
    assert result.returncode == 5
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("act", ['say("x" * 70)', 'print("x" * 70, flush=True)', 'sys.stdout.write("x" * 70 + "\\n")'])
def test_reader_that_goes_away_ends_the_command_quietly_with_141(act, tmp_path):
    script = tmp_path / "script.py"
    needed = "from detaux.runtime.progress import say" if act.startswith("say") else "pass"  # it imports torch
    act = f"{needed}\n    for _ in range(5000): {act}"
    script.write_text(RUN.format(act=act))
    line = 'set -o pipefail; "$0" "$1" | head -n 1'
    result = subprocess.run(
        ["bash", "-c", line, sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.count("\n"), result.stderr) == (141, 1, "")


@pytest.mark.parametrize("command", ["doctor", "watch {tmp} --once", "--help", "shards info {tmp}/none"])
def test_reader_that_was_never_there_ends_every_command_with_141(command, tmp_path):
    line = {"step": 1, "phase": "main", "seconds": 5.0, "loss/total": 0.5, "steps": 2}
    (tmp_path / "disentangle").mkdir()
    (tmp_path / "disentangle" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    ours, theirs = os.pipe()
    os.close(ours)
    result = subprocess.run(
        [*COMMAND, *command.format(tmp=tmp_path).split()], stdout=theirs, stderr=theirs, timeout=120, check=False
    )
    os.close(theirs)
    assert result.returncode == 141


def test_other_pipe_that_breaks_is_an_unforeseen_error():
    result = run_act('raise BrokenPipeError(32, "Broken pipe")')
    assert result.returncode == 70
    assert "detaux: an unforeseen error (BrokenPipeError" in result.stderr


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3])
def test_interrupt_while_modules_are_imported_is_one_sentence(seconds):
    """Sent so long after the command has begun to note interrupts."""
    code = f"""
import os, signal, sys, threading, time
from detaux import __main__
def interrupt():
    time.sleep({seconds})
    os.kill(os.getpid(), signal.SIGINT)
def note():
    note_interrupts()
    threading.Thread(target=interrupt, daemon=True).start()
note_interrupts, __main__.note_interrupts = __main__.note_interrupts, note
sys.argv = ["detaux", "doctor"]
code = __main__.main()
time.sleep({seconds} if code else 5)
sys.exit(code)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert (result.returncode, result.stderr) == (130, "detaux: stopped at once; what was checkpointed is intact.\n")


def test_interrupt_that_a_library_turns_into_an_error_of_its_own_is_still_an_interrupt():
    act = """try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("numpy failed to import") from None"""
    result = run_act(f"import signal\n    {act}")
    assert (result.returncode, result.stderr.count("\n")) == (130, 1)


def test_interrupt_that_is_ignored_stays_ignored():
    line = f"trap '' INT; {sys.executable} -c \"$0\""
    code = RUN.format(act="import os, signal; os.kill(os.getpid(), signal.SIGINT); return 7")
    result = subprocess.run(["bash", "-c", line, code], capture_output=True, text=True, check=False)
    assert result.returncode == 7
