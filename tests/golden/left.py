"""Files that a run has left half way, written by the code of commit 389354c, and what later code makes of them.

They are in left.zip, and in left.json what that code made of them. All but the first values of each tensor are 0 there, so that
they take little room: what goes on from them is no good model, but as exact as any other.
"""

import io
import json
import shutil
import time
import zipfile
from pathlib import Path

import torch
from golden.collect import read_folder
from golden.play import BY_NAME, DONE
from safetensors import safe_open
from safetensors.torch import save_file

FILES, VALUES = (Path(__file__).with_name(f"left.{suffix}") for suffix in ("zip", "json"))
KEPT = 200  # values of a tensor that stay
STEP = "checkpoint/step-00000045"
MODELS = ("checkpoint/model.safetensors", "checkpoint/autoencoder.safetensors")
REFUSED = 2  # exit code of a user's mistake
PASSED_OVER = ("passed over", "once more")  # words of the line that tells of a file that is not used


def thin(tree):
    """A tree of tensors whose later values are 0."""
    if isinstance(tree, torch.Tensor):
        kept = torch.zeros_like(tree).flatten()
        kept[:KEPT] = tree.flatten()[:KEPT]
        return kept.view(tree.shape)
    if isinstance(tree, dict):
        return {name: thin(value) for name, value in tree.items()}
    return type(tree)(map(thin, tree)) if isinstance(tree, list | tuple) else tree


def thin_file(path):
    """The bytes of a checkpoint's file, thinned."""
    if path.suffix == ".pt":
        buffer = io.BytesIO()
        torch.save(thin(torch.load(path, weights_only=True)), buffer)
        return buffer.getvalue()
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "pt") as file:
        tensors = {name: thin(file.get_tensor(name)) for name in sorted(file.keys())}
        metadata = file.metadata()
    thinned = path.with_suffix(".thin")
    save_file(tensors, thinned, metadata=metadata)
    return thinned.read_bytes()


def leave(player):
    """Write left.zip and left.json by the code of the player's tree."""
    for name in ("disentangle_quickstart", "discover_quickstart"):
        player.run(name)
    trained = player.locate(BY_NAME["disentangle_quickstart"]) / "disentangle"
    found = {f"disentangle/{STEP}/{path.name}": path for path in sorted((trained / STEP).iterdir())}
    found |= {f"disentangle/{name}": trained / name for name in MODELS}
    found |= {f"multitask/{name}": path for name, path in stop_multitask(player).items()}
    with zipfile.ZipFile(FILES, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as files:
        for name, path in found.items():
            files.writestr(zipfile.ZipInfo(name), thin_file(path), zipfile.ZIP_DEFLATED)
    values = {}
    for stage, go_on in GO_ON.items():
        code, output, values[stage] = go_on(player, player.root / f"left_{stage}")
        assert code in DONE, output
    lines = [f"{json.dumps(stage)}:{json.dumps(found, separators=(',', ':'))}" for stage, found in values.items()]
    VALUES.write_text("{\n" + ",\n".join(lines) + "}\n")


def stop_multitask(player):
    """The files of a multi-task stage that is killed when its first trial is finished."""
    case, folder = BY_NAME["multitask_two_seeds"], player.root / "stopped"
    shutil.copytree(player.locate(BY_NAME[case.base]), folder)
    (process,) = player.begin(case, folder)
    rows, limit = folder / "multitask" / "rows.jsonl", time.monotonic() + 60
    while not (rows.is_file() and rows.read_text().endswith("\n")):
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    first = rows.read_text().splitlines()[0]
    rows.write_text(first + "\n")
    state = f"states/{json.loads(first)['name']}.safetensors"
    return {"rows.jsonl": rows, state: folder / "multitask" / state}


def find_hash(path):
    """What a file of this tree says that its inputs are; None where it says it no more, or elsewhere."""
    try:
        return json.loads(path.read_text())["inputs_hash"]
    except (OSError, ValueError, KeyError):
        return None


def unpack(folder, prefix, inputs_hash=None):
    """Write the files that were left by a stage below `folder`, as if they had the inputs with this hash."""
    with zipfile.ZipFile(FILES) as files:
        for name in files.namelist():
            if name.startswith(prefix):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                data = files.read(name)
                if inputs_hash and path.suffix in (".json", ".jsonl"):
                    line = json.loads(data)
                    data = json.dumps({**line, "inputs_hash": inputs_hash}).encode() + b"\n"
                path.write_bytes(data)


def finish(player, name, folder):
    """(exit code, output, values) of the command of a case in a folder."""
    case = BY_NAME[name]
    code, output = player.command(case, folder)
    return code, output, read_folder(folder / case.stage) if code in DONE else {}


def go_on_training(player, folder):
    """Go on from the checkpoint of step 45."""
    name = "disentangle_quickstart"
    player.run(name)
    step = player.locate(BY_NAME[name]) / "disentangle" / STEP
    unpack(folder, f"disentangle/{STEP}", find_hash(step / "state.json"))
    unpack(folder, f"disentangle/{MODELS[1]}")
    code, output, values = finish(player, name, folder)
    return code, output, {key: value for key, value in values.items() if key.startswith(("metrics.jsonl", *MODELS[:1]))}


def go_on_discovering(player, folder):
    """Discover on a trained model."""
    player.run("disentangle_quickstart")
    shutil.copytree(player.locate(BY_NAME["disentangle_quickstart"]), folder)
    for name in MODELS:
        unpack(folder, f"disentangle/{name}")
    return finish(player, "discover_quickstart", folder)


def go_on_classifying(player, folder):
    """Train the trials that are not finished."""
    case = BY_NAME["multitask_two_seeds"]
    player.run(case.name)
    record = player.locate(case) / "multitask" / "record.json"
    shutil.copytree(player.locate(BY_NAME[case.base]), folder)
    unpack(folder, "multitask/", find_hash(record))
    return finish(player, case.name, folder)


GO_ON = {"disentangle": go_on_training, "discover": go_on_discovering, "multitask": go_on_classifying}
