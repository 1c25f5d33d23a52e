"""Read the numbers out of the files that a stage has left: a name -> value for each, in JSON's types.

A float keeps every bit, as JSON's shortest text of it is read back the same. Of a tensor, an array or a column there is a hash.
What is measured (seconds, bytes), and what names a machine or a state of the code, is left out.
"""

import csv
import hashlib
import html
import io
import json
import re
from collections import Counter

import numpy as np
import pyarrow.parquet
import torch
from safetensors import safe_open

LEFT_OUT = {
    *("seconds", "samples_per_second", "data_wait_share", "memory_bytes", "warning"),
    *("version", "inputs_hash", "backend"),
}
PASSED_OVER = {"record.json", "state.json"}  # hashes of files, whose text may change, and the time
WHOLE = ("checkpoint/model.safetensors",)  # a hash for each of its tensors
MANY = 40  # tensors of a file, more of which have one hash for all
FOLLOWING = {  # from what else is recorded
    *("factors", "baselines", "principal_subspace", "summary", "classes_by_cluster", "variance_share"),
    *("steps", "phase", "progress", "uses_ground_truth"),
}
COSTS = ("parameters", "steps", "seconds")  # columns of accuracy.csv
DIGITS = 12  # hexadecimal ones of a hash
SENTENCES = ("Detaux found", "Chosen:")  # of the report's paragraphs


def shorten(data):
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def hash_array(array):
    """The hash of an array's values, with their type and shape."""
    array = np.ascontiguousarray(array)
    return shorten(f"{array.dtype} {array.shape} ".encode() + array.tobytes())


def hash_tensor(tensor):
    """The hash of a tensor; a single number is itself."""
    if tensor.ndim == 0:
        return tensor.item()
    tensor = tensor.detach().contiguous()
    return hash_array(tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy())


def prune(tree, names=LEFT_OUT):
    """A tree of JSON without what has these names."""
    if isinstance(tree, dict):
        return {name: prune(value, names) for name, value in tree.items() if name not in names}
    return [prune(value, names) for value in tree] if isinstance(tree, list) else tree


def fold(hashes):
    """One hash of many, whatever their names and order."""
    return shorten(" ".join(sorted(hashes)).encode())


def make_brief(values, is_default):
    """The values with one hash instead of those of all tensors of a file, or of a kind in an optimiser's state; cases that do not
    run by default have that for the model's file too, and no scores that follow from others."""
    brief, folded = {}, {}
    files = Counter(name.partition(":")[0] for name in values)
    for name, value in values.items():
        file, _, field = name.partition(":")
        if file.endswith((".pt", ".safetensors")) and not (is_default and file in WHOLE and files[file] <= MANY):
            kind = f" {field.rpartition('.')[2]}" if file.endswith(".pt") else ""
            if isinstance(value, str):
                folded.setdefault(f"{file}:all{kind}", []).append(value)
        elif is_default or field not in FOLLOWING:
            brief[name] = value if is_default else prune(value, FOLLOWING)
    return brief | {name: fold(hashes) for name, hashes in folded.items()}


def walk_tensors(tree, name=""):
    """(path, tensor) of every tensor in nested mappings and sequences."""
    if isinstance(tree, torch.Tensor):
        yield name, tree
    elif isinstance(tree, dict | list | tuple):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from walk_tensors(value, f"{name}.{key}" if name else str(key))


def read_lines(path):
    """A series of each field of a file of JSON lines; null where a line lacks it."""
    lines = [prune(json.loads(line)) for line in path.read_text().splitlines()]
    names = dict.fromkeys(name for line in lines for name in line)
    return {name: [line.get(name) for line in lines] for name in names}


def read_manifest(path):
    """The hashes of the tars, with the split and the number of samples of each, and the classes."""
    manifest = json.loads(path.read_text())
    tars = {shard["name"]: [shard["split"], shard["samples"], shard["sha256"]] for shard in manifest["shards"]}
    return {**tars, "classes": manifest["classes"], "class_counts": manifest["class_counts"]}


def read_discovery(path):
    """discovery.json in the form of the recorded values: the rule's name, and the text of a fault as `why_not`."""
    found = prune(json.loads(path.read_text()))
    if isinstance(found["rule"], dict):
        found["rule"] = found["rule"]["name"]
        for one in filter(None, [*found["candidates"], *found["baselines"], found["principal_subspace"]]):
            fault = one.pop("fault")
            one["why_not"] = fault and fault["text"]
    return found


def read_tensors(path):
    with safe_open(path, "pt") as file:
        return {name: hash_tensor(file.get_tensor(name)) for name in sorted(file.keys())}


def read_training(path):
    return {name: hash_tensor(tensor) for name, tensor in walk_tensors(torch.load(path, weights_only=True))}


def read_columns(path):
    table = pyarrow.parquet.read_table(path)
    return {
        name: shorten(json.dumps([f"{value!r}" for value in table[name].to_pylist()]).encode())
        for name in table.column_names
    }


def read_arrays(path):
    with np.load(path, allow_pickle=False) as arrays:
        texts = {name: arrays[name] for name in arrays.files}
    return {name: hash_array(array) for name, array in texts.items()}


def read_table(path):
    """The lines of a table, without what a training cost: its seconds are measured."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    kept = [place for place, name in enumerate(rows[0]) if name.removesuffix("_ratio") not in COSTS]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([row[place] for place in kept] for row in rows)
    return {"": text.getvalue().splitlines()}


def read_page(path):
    """The sentences of the report that say what was found and chosen."""
    paragraphs = [
        html.unescape(re.sub(r"<[^>]+>", " ", text)) for text in re.findall(r"(?s)<p.*?</p>", path.read_text())
    ]
    sentences = [" ".join(text.split()) for text in paragraphs]
    return {begin: [text for text in sentences if begin in text] for begin in SENTENCES}


READERS = {
    "manifest.json": read_manifest,
    "discovery.json": read_discovery,
    "report.html": read_page,
    ".json": lambda path: prune(json.loads(path.read_text())),
    ".jsonl": read_lines,
    ".safetensors": read_tensors,
    ".pt": read_training,
    ".parquet": read_columns,
    ".npz": read_arrays,
    ".csv": read_table,
}


def read_folder(folder, is_default=True):
    """FILE:FIELD -> value, for the files below a folder."""
    values = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in PASSED_OVER):
        reader = READERS.get(path.name) or READERS.get(path.suffix)
        if reader is not None:
            name = path.relative_to(folder)
            values |= {f"{name}:{field}": value for field, value in reader(path).items()}
    return make_brief(values, is_default)
