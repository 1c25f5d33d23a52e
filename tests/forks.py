"""Start Python programs as forks of one process that has imported what takes seconds, torch above all.

Each program is a process of its own with its arguments, environment, folder, output and signals, and ends as the interpreter
ends any other. Nothing of Detaux is imported before the fork, and no thread has been started. What forks share and other
processes do not is the seed of hashes, and so the order of sets of text; launchers start processes of their own. As a program,
this file is that one process:

    forks.py SOCKET         it lives until its standard input is closed
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
from importlib import import_module
from pathlib import Path

HEAVY = (
    *("torch", "torch._dynamo", "torch.distributed", "torch.nn.parallel", "safetensors.torch", "webdataset"),
    *("torch._dynamo.repro.after_dynamo", "torch._inductor.compile_fx"),  # DeepSpeed imports them
    *("sklearn.cluster", "sklearn.decomposition", "sklearn.ensemble", "sklearn.metrics", "scipy.stats", "hdbscan"),
    *("torchvision", "timm"),
    *("pandas", "pyarrow.parquet", "matplotlib.figure", "PIL.Image", "omegaconf", "rich.table", "jinja2"),
)
JEMALLOC = "jemalloc_bg_thd"  # pyarrow's, which starts again in a fork


class Fork:
    """A program, as far as the tests use subprocess.Popen; its error output is part of its output."""

    def __init__(self, connection, stdout, arguments):
        self._connection, self._answers = connection, connection.makefile()
        self.args, self.stdout, self.returncode = arguments, stdout, None
        self.pid = int(self._answers.readline())

    def wait(self, timeout=None):
        """The exit code, negative for a signal. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._answers.readline())
            self._connection.close()
        return self.returncode

    def poll(self):
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def communicate(self, timeout=None):
        """What is left of the output, and None, once the program has ended. Raises subprocess.TimeoutExpired."""
        found = []
        reader = threading.Thread(target=lambda: found.append(self.stdout.read()), daemon=True)
        reader.start()
        reader.join(timeout)
        if reader.is_alive():
            raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(timeout)
        return found[0], None

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks; `start` asks it for a program."""

    def __init__(self, folder):
        self._path = str(folder / "forks")
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout.readline() == b"ready\n"

    def start(self, arguments, *, env=None, cwd=None):
        """A Python program: the arguments are those of the interpreter, -m MODULE, -c CODE or FILE first."""
        arguments = [str(argument) for argument in arguments]
        request = {"arguments": arguments, "env": {**os.environ, **(env or {})}, "cwd": str(cwd or os.getcwd())}
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        reading, writing = os.pipe()
        socket.send_fds(connection, [b" "], [writing])
        os.close(writing)
        connection.sendall(json.dumps(request).encode() + b"\n")
        return Fork(connection, os.fdopen(reading), arguments)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def serve(path):
    """Fork for every request. Returns in each fork, with what it is to run; ends where the input is closed."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    threads = {Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")}
    assert len(threads - {JEMALLOC}) == 1, f"a thread does not live on in a fork: {threads}"
    print("ready", flush=True)
    connections = {}
    while True:
        ready = select.select([listener, woken, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            sys.exit()
        if woken in ready:
            os.read(woken, 1024)
            for pid in list(connections):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with connections.pop(pid) as connection:
                        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        if listener in ready:
            connection, _ = listener.accept()
            _, (output,), *_ = socket.recv_fds(connection, 1, 1)
            request = json.loads(connection.makefile().readline())
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                return request
            os.close(output)
            connection.sendall(b"%d\n" % pid)
            connections[pid] = connection


def run(arguments, env, cwd):
    """What the interpreter does with its arguments."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.modules["numpy"].random.seed()  # as of a new process, from the system's entropy
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115 for as long as the process lives
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    first, *rest = arguments
    sys.path[:0] = [os.path.dirname(os.path.abspath(first)) if first not in ("-c", "-m") else cwd]
    sys.path[1:1] = env.get("PYTHONPATH", "").split(os.pathsep) if env.get("PYTHONPATH") else []
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), vars(module))
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    for name in HEAVY:
        import_module(name)
    gc.freeze()  # a collection in a fork would copy every page
    del sys.path[0]  # this folder
    run(**serve(sys.argv[1]))
