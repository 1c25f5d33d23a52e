"""Open FACES: 2,052 portraits of 171 persons with six expressions, named by what they show (Ebner et al., 2010).

A file is called PERSON_AGE_GENDER_EXPRESSION_SET, such as 004_o_m_a_a.jpg. All of its parts are factors.
"""

import re
from pathlib import Path

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from detaux.runtime.text import show_name
from shards.picture_files import check_pictures, list_picture_files
from shards.published import find_published
from shards.records import Source

CODES = {
    "expression": {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutrality", "s": "sadness"},
    "age": {"y": "young", "m": "middle-aged", "o": "older"},
    "gender": {"m": "male", "f": "female"},
    "set": {"a": "a", "b": "b"},
}
NAME = re.compile(
    r"(?P<person>[0-9]{1,6})_(?P<age>[ymo])_(?P<gender>[mf])_(?P<expression>[adfhns])_(?P<set>[ab])", re.IGNORECASE
)
EXAMPLE = "004_o_m_a_a.jpg"
WANTED = f"the folder of the published pictures, with names such as {EXAMPLE}"


def open_faces(config: DataConfig) -> Source:
    """Open the pictures of `data.path` and its sub-folders.

    The factors are expression, age, gender, set and person; data.split=group keeps each person in one split. A picture
    that is damaged, or has another kind of name, is left out and named. Raises UserError if a person has two ages or
    genders, if fewer than two expressions are there, or if more than data.max_bad_fraction is left out.
    """
    root = find_published(config, WANTED)
    if not root.is_dir():
        raise UserError(f"data.path={root} is not a folder; it must be {WANTED}.")
    listing = list_picture_files(root)
    paths, facts, refused = _read_names(root, listing.files)
    if not paths:
        raise UserError(f"data.path={root} holds no picture with a name such as {EXAMPLE}; it must be {WANTED}.")
    _check_persons(root, paths, facts)
    found = check_pictures(root, paths, [*listing.refused, *refused], config)
    good = [facts[position] for position in found.good]
    persons = sorted({one["person"] for one in good})
    names = {"person": dict(zip(persons, persons, strict=True)), **CODES}
    values = {
        factor: [code for code in names[factor] if any(one[factor] == code for one in good)]
        for factor in (*CODES, "person")
    }
    if len(values["expression"]) < 2:
        raise UserError(f"data.path={root} holds {len(values['expression'])} expressions; at least two are needed.")
    return Source(
        name="faces",
        factors={factor: len(codes) for factor, codes in values.items()},
        value_names={factor: [names[factor][code] for code in codes] for factor, codes in values.items()},
        default_principal="expression",
        count=len(good),
        factor_values=np.array(
            [[codes.index(one[factor]) for factor, codes in values.items()] for one in good], dtype=np.int64
        ),
        published_split=None,
        read=found.read,
        keys=found.keys,
        quarantined=found.quarantined,
        passed_over=listing.passed_over,
        group="person",
    )


def _read_names(root: Path, files: list[Path]) -> tuple[list[Path], list[dict[str, str]], list[dict[str, str]]]:
    """Return the pictures with a proper name, the codes of each, and the other files with the reason."""
    paths, facts, refused = [], [], []
    first_of: dict[str, Path] = {}
    for path in files:
        match = NAME.fullmatch(path.stem)
        if match is None:
            reason = f"its name is not PERSON_AGE_GENDER_EXPRESSION_SET, such as {EXAMPLE}"
        elif (first := first_of.setdefault(path.stem.lower(), path)) != path:
            reason = f"it has the name of {show_name(first.relative_to(root))}"
        else:
            codes = {key: value.lower() for key, value in match.groupdict().items()}
            paths.append(path)
            facts.append({**codes, "person": f"{int(codes['person']):03d}"})
            continue
        refused.append({"file": show_name(path.relative_to(root)), "reason": reason})
    return paths, facts, refused


def _check_persons(root: Path, paths: list[Path], facts: list[dict[str, str]]) -> None:
    """Raise UserError, which names both files, if a person has two ages or genders."""
    first_of: dict[str, int] = {}
    for position, one in enumerate(facts):
        first = first_of.setdefault(one["person"], position)
        for factor in ("age", "gender"):
            if facts[first][factor] != one[factor]:
                raise UserError(
                    f"data.path={root}: person {one['person']} has {factor} {facts[first][factor]} in {paths[first].name} and "
                    f"{one[factor]} in {paths[position].name}; rename the wrong file or move it away."
                )
