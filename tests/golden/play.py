"""Run the cases in a folder: each is one process, or one for each rank, of the tree that is asked for."""

import shutil
import socket
import sys

import numpy as np
from golden.cases import CASES
from golden.collect import read_folder

BY_NAME = {case.name: case for case in CASES}
KEPT = {case.base for case in CASES} | {"multitask_two_seeds"}  # whose files are read again
DONE = (0, 3)  # exit codes; 3: no task was found, which is a result
SECONDS = 300  # in which a case has to end
SAMPLES, COLUMNS = 240, 5


def write_embeddings(path):
    """Write made embeddings [N, D]: five clouds of different width and size, and noise."""
    random = np.random.default_rng(0)
    middles = random.normal(size=(5, COLUMNS)) * 4
    clouds = [middles[k] + (0.2 + 0.1 * k) * random.normal(size=(30 + 8 * k, COLUMNS)) for k in range(5)]
    noise = random.uniform(-8, 8, (SAMPLES - sum(map(len, clouds)), COLUMNS))
    np.save(path, np.concatenate([*clouds, noise]).astype(np.float32))


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Player:
    """Runs cases of the code in `tree`, their files below `root`, as forks of `server`."""

    def __init__(self, server, root, tree):
        self.server, self.root, self.tree, self.values = server, root, tree, {}

    def locate(self, case):
        return self.root / ("sets" if case.stage == "shards" else "runs") / case.name

    def run(self, name):
        """The values of a case, run now if it has not been, after the ones that it needs."""
        if name not in self.values:
            case = BY_NAME[name]
            for needed in (case.set and f"shards_{case.set}", case.base):
                if needed:
                    self.run(needed)
            self.values[name] = self.play(case)
        return self.values[name]

    def play(self, case):
        folder = self.locate(case)
        if case.base and self.locate(BY_NAME[case.base]).is_dir():
            shutil.copytree(self.locate(BY_NAME[case.base]), folder)
        code, output = self.command(case, folder)
        if code not in DONE:
            print(f"{case.name} ended with exit code {code}:\n{output[-4000:]}", file=sys.stderr)
            return {"exit code": code}
        written = folder if case.stage in ("shards", "cluster") else folder / case.stage
        values = {"exit code": code, **read_folder(written, case.is_default)}
        if case.stage != "shards" and case.name not in KEPT:
            shutil.rmtree(folder)
        return values

    def command(self, case, folder):
        """(exit code, output) of the command of a case: of the first rank that failed, or of the first."""
        started = self.begin(case, folder)
        try:
            ended = [(process.communicate(timeout=SECONDS)[0], process.returncode) for process in started]
        finally:
            for process in started:
                process.kill()
        return next(((code, output) for output, code in ended if code), (0, ended[0][0]))

    def begin(self, case, folder):
        """The processes of the command of a case, one for each rank, started."""
        arguments = self.list_arguments(case, folder)
        place = {"WORLD_SIZE": str(case.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_port())}
        ranks = [{**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(case.ranks)]
        fixed = {"PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        return [
            self.server.start(["-m", "detaux", *arguments], env=fixed | environment, cwd=self.root)
            for environment in (ranks if case.ranks > 1 else [{}])
        ]

    def list_arguments(self, case, folder):
        config = self.tree / "configs" / f"{case.config}.yaml"
        if case.stage == "shards":
            return ["shards", "build", config, "--out", folder, *case.keys]
        if case.stage == "report":
            return ["report", folder]
        if case.stage == "cluster":
            folder.mkdir(parents=True, exist_ok=True)
            write_embeddings(self.root / "embeddings.npy")
            return ["cluster", self.root / "embeddings.npy", "--out", folder / "labels.parquet", *case.keys]
        images = self.locate(BY_NAME[f"shards_{case.set}"])
        return [case.stage, config, *case.keys, f"run.dir={folder}", f"data.shards={images}"]
