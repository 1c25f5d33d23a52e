import pickle
import re

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_rand_score

from detaux.arguments import CLUSTER_KEYS
from detaux.cli import run_command
from detaux.config.load import iterate_fields
from detaux.discover.backends import CLUSTERERS
from detaux.discover.embedding_file import centre, read_embeddings

# Wrong arguments of `detaux cluster` -> what the one sentence must name. {tmp} is a folder of files, sound and broken.
WRONG = {
    "{tmp}/absent.npy --out {tmp}/l": "{tmp}/absent.npy does not exist",
    "{tmp}/blobs.csv --out {tmp}/l": "neither .npy nor .safetensors",
    "{tmp}/blobs.npy": "--out",
    "{tmp}/blobs.npy --out {tmp}": "--out {tmp}",
    "{tmp}/blobs.npy --out {tmp}/none/l": "--out {tmp}/none/l",
    "{tmp}/blobs.npy --out {tmp}/l --tensor x": "--tensor x",
    "{tmp}/blobs.npy --out {tmp}/l discover.backend=cuml": "discover.backend=cuml",
    "{tmp}/blobs.npy --out {tmp}/l discover.backend=gpu": "auto|cuml|torch|cpu",
    "{tmp}/blobs.npy --out {tmp}/l discover.clusterr=kmeans": "discover.clusterer",
    "{tmp}/blobs.npy --out {tmp}/l discover.choose=paper": "discover.choose=paper",
    "{tmp}/blobs.npy --out {tmp}/l data.side=32": "data.side=32",
    "{tmp}/cube.npy --out {tmp}/l": "[2, 3, 4]",
    "{tmp}/empty.npy --out {tmp}/l": "[0, 4]",
    "{tmp}/text.npy --out {tmp}/l": "<U1",
    "{tmp}/complex.npy --out {tmp}/l": "complex128",
    "{tmp}/objects.npy --out {tmp}/l": "objects.npy is no .npy file",
    "{tmp}/pickle.npy --out {tmp}/l": "pickle.npy is no .npy file",
    "{tmp}/archive.npy --out {tmp}/l": "an archive of arrays",
    "{tmp}/cut.npy --out {tmp}/l": "cut.npy is no .npy file, or is cut short",
    "{tmp}/cut.safetensors --out {tmp}/l": "cut.safetensors is no .safetensors file, or is cut short",
    "{tmp}/pointer.npy --out {tmp}/l": "pointer.npy is a Git LFS pointer",
    "{tmp}/none.npy --out {tmp}/l": "none.npy is empty",
    "{tmp}/blobs.npy --out {tmp}/blobs.npy": "`detaux cluster` did not write it",
    "{tmp}/blobs.npy --out {tmp}/theirs.parquet": "`detaux cluster` did not write it",
    "{tmp}/two.safetensors --out {tmp}/l": "--tensor: flat, latents",
    "{tmp}/two.safetensors --out {tmp}/l --tensor z": "no tensor z; it holds flat, latents",
    "{tmp}/two.safetensors --out {tmp}/l --tensor flat": "[12]",
}


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


@pytest.fixture
def folder(tmp_path, make_blobs):
    points, _ = make_blobs()
    np.save(tmp_path / "blobs.npy", points.numpy())
    (tmp_path / "blobs.csv").write_text("1,2\n")
    np.save(tmp_path / "cube.npy", np.zeros((2, 3, 4)))
    np.save(tmp_path / "empty.npy", np.zeros((0, 4)))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "complex.npy", np.zeros((4, 2), complex))
    np.save(tmp_path / "objects.npy", np.array([[Trap()]], object), allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    with (tmp_path / "archive.npy").open("wb") as stream:
        np.savez(stream, first=np.zeros(3))
    (tmp_path / "pointer.npy").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    (tmp_path / "none.npy").touch()
    pyarrow.parquet.write_table(pyarrow.table({"theirs": [1]}), tmp_path / "theirs.parquet")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "blobs.npy").read_bytes()[:500])
    save_file({"latents": points, "flat": torch.zeros(12)}, tmp_path / "two.safetensors")
    save_file({"only": points.bfloat16()}, tmp_path / "one.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "two.safetensors").read_bytes()[:300])
    return tmp_path


def cluster(folder, name, *arguments):
    """Columns of the labels that the command leaves."""
    out = folder / "labels.parquet"
    assert run_command(["cluster", str(folder / name), "--out", str(out), *arguments]) == 0
    table = pyarrow.parquet.read_table(out)
    assert table.column_names == ["row", "aux_0", "probability_0"]
    assert table["row"].to_pylist() == list(range(len(table)))
    return table["aux_0"].to_numpy(), table["probability_0"].to_numpy()


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_arguments_exit_2_with_one_sentence_that_names_the_fault(arguments, folder, capsys):
    assert run_command(["cluster", *arguments.format(tmp=folder).split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("detaux: ")
    assert error.endswith((".\n", "`.\n"))
    assert error.count("\n") == 1
    assert WRONG[arguments].format(tmp=folder) in error
    assert not (folder / "l").exists()
    assert np.load(folder / "blobs.npy").shape[1] == 4
    assert pyarrow.parquet.read_table(folder / "theirs.parquet").column_names == ["theirs"]


def test_labels_of_the_command_itself_are_written_over(folder):
    for clusters in (2, 3):
        keys = ["discover.clusterer=kmeans", f"discover.clusters={clusters}"]
        assert cluster(folder, "blobs.npy", *keys)[0].max() == clusters - 1


SHIFTS = {
    "far from 0": lambda points: points + 1e9,
    "farther, whole": lambda points: (points * 1e4).astype(np.int64) + 2**60,
    "whole without sign": lambda points: ((points + 100) * 1e4).astype(np.uint64) + np.uint64(2**63),
    "large": lambda points: points * 1e300,
    "small": lambda points: points * 1e-300,
    "long": lambda points: points.astype(np.longdouble) + np.longdouble(1e12),
}


@pytest.mark.parametrize("clusterer", CLUSTERERS)
@pytest.mark.parametrize("name", SHIFTS)
def test_unit_and_origin_of_embeddings_change_no_cluster(name, clusterer, folder):
    points = np.load(folder / "blobs.npy").astype(np.float64)
    np.save(folder / "moved.npy", SHIFTS[name](points))
    keys = [f"discover.clusterer={clusterer}", "discover.clusters=3", "discover.bandwidth_quantile=0.3"]
    expected, found = (cluster(folder, file, *keys)[0] for file in ("blobs.npy", "moved.npy"))
    assert adjusted_rand_score(expected, found) > 0.98


@pytest.mark.parametrize("factor", [1e18, 1e37, 1e-18, 1e-38])
@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_single_precision_embeddings_of_any_unit_keep_their_clusters(factor, clusterer, folder):
    points = np.load(folder / "blobs.npy")
    np.save(folder / "scaled.npy", points * np.float32(factor))
    keys = [f"discover.clusterer={clusterer}", "discover.clusters=3", "discover.bandwidth_quantile=0.3"]
    expected, (found, probability) = cluster(folder, "blobs.npy", *keys)[0], cluster(folder, "scaled.npy", *keys)
    assert adjusted_rand_score(expected, found) > 0.98
    assert np.isfinite(probability).all()


def test_distances_are_those_of_the_values_up_to_one_factor():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(40, 3)) + 1e7
    found, expected = (pdist(points) for points in (centre(values).numpy(), values))
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-5)
    assert not np.allclose(pdist(values.astype(np.float32)) / found[0], expected / expected[0], rtol=1e-2)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[2**63 - 1], [-(2**63)], [0], [2**62]], np.int64),
        np.array([[2**64 - 1], [0], [2**64 - 1 - 2**40], [5]], np.uint64),
        np.array([[2**63 - 1, -(2**63)], [-(2**63), 2**63 - 1], [2**63 - 1, 5 - 2**63]], np.int64),
        np.array([[127], [-128], [0]], np.int8),
    ],
)
def test_distances_of_whole_numbers_are_those_of_python_at_the_ends_of_their_type(values):
    rows = [[float(one - least) for one, least in zip(row, values[0].tolist(), strict=True)] for row in values.tolist()]
    found, expected = pdist(centre(values).numpy()), pdist(np.array(rows))
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-6)


@pytest.mark.parametrize("backend", ["auto", "cpu", "torch"])
@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_clusters_match_blobs_and_are_told(clusterer, backend, folder, make_blobs, capsys):
    keys = [f"discover.clusterer={clusterer}", f"discover.backend={backend}", "discover.clusters=3"]
    labels, probability = cluster(folder, "blobs.npy", *keys, "discover.bandwidth_quantile=0.3")
    assert adjusted_rand_score(make_blobs()[1], labels) > 0.99
    assert ((probability >= 0) & (probability <= 1)).all()
    printed = capsys.readouterr().out
    assert re.search(
        rf"{re.escape(clusterer)} runs on backend {'cpu' if backend == 'auto' else backend}: .+\.\n", printed
    )
    noise = (labels == 3).mean()
    assert re.search(rf"3 clusters, {noise:.1%} outliers, \d+\.\d s; labels in ", printed)


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_shuffled_rows_keep_their_clusters(clusterer, folder):
    points = np.load(folder / "blobs.npy")
    order = np.random.default_rng(0).permutation(len(points))
    np.save(folder / "shuffled.npy", points[order])
    keys = [f"discover.clusterer={clusterer}", "discover.clusters=3", "discover.bandwidth_quantile=0.3"]
    straight, shuffled = (cluster(folder, name, *keys)[0] for name in ("blobs.npy", "shuffled.npy"))
    assert adjusted_rand_score(straight[order], shuffled) == 1.0


def test_rows_that_are_not_finite_are_noise_and_counted(folder, capsys):
    points = np.load(folder / "blobs.npy").astype(np.float64)
    points[[3, 8], 1] = np.nan, 1e300  # the second is not finite in float32
    np.save(folder / "holes.npy", points)
    labels, probability = cluster(folder, "holes.npy", "discover.clusterer=kmeans", "discover.clusters=3")
    assert np.flatnonzero(labels == 3).tolist() == [3, 8]
    assert (probability[[3, 8]] == 0).all()
    assert f"2 of {len(points)} rows are not finite and count as outliers." in capsys.readouterr().out


def test_file_type_and_number_type_change_nothing(folder):
    points = np.load(folder / "blobs.npy")
    np.save(folder / "doubles.npy", np.asfortranarray(points.astype(">f8")))
    expected, _ = cluster(folder, "blobs.npy")
    for name, arguments in (("two.safetensors", ["--tensor", "latents"]), ("doubles.npy", [])):
        np.testing.assert_array_equal(cluster(folder, name, *arguments)[0], expected)
    assert adjusted_rand_score(cluster(folder, "one.safetensors")[0], expected) > 0.98
    assert read_embeddings(folder / "one.safetensors", None).dtype == torch.float32


def test_plan_is_told_and_kept(folder, monkeypatch, capsys):
    from detaux.discover import plan

    monkeypatch.setattr(plan, "FEWEST_PLANNED", 100)
    monkeypatch.setattr(plan, "PROBES", (40, 40, 80))
    monkeypatch.setattr(plan, "PREDICTED", 20)
    cluster(folder, "blobs.npy", "discover.max_memory=1e-9", "discover.min_samples=5")
    printed = capsys.readouterr().out
    assert "of which 80 are clustered and the rest predicted" in printed
    assert "planned" in printed


def test_help_lists_the_keys_that_count_and_no_other(capsys):
    assert run_command(["cluster", "--help"]) == 0
    listed = set(re.findall(r"^  (\w+\.\w+)=", capsys.readouterr().out, re.M))
    assert listed == set(CLUSTER_KEYS) <= {dotted for dotted, _, _ in iterate_fields()}


def test_keys_that_clustering_reads_are_all_taken(folder):
    after_clustering = {
        "sources",
        "features",
        "merge",
        "merge_threshold",
        "choose",
        "include_baselines",
        "tasks",
        "stability_samples",
    }
    after_clustering |= {
        "max_outlier_fraction",
        "min_oracle_fraction",
        "min_variance_fraction",
        "related_nmi",
        "cut_continua",
        "min_unexplained",
        "min_recognition",
        "min_attraction",
    }
    discover = {dotted for dotted, _, _ in iterate_fields() if dotted.startswith("discover.")}
    discover = {dotted for dotted in discover if not dotted.startswith("discover.cross_prediction.")}  # needs images
    assert discover - set(CLUSTER_KEYS) == {f"discover.{name}" for name in after_clustering}
    few = 60 + np.concatenate([np.eye(4), -np.eye(4), [[0.5] * 4]])
    np.save(folder / "few.npy", np.concatenate([np.load(folder / "blobs.npy"), few]))
    assert (cluster(folder, "few.npy")[1][-9:] == 0).all()
    size = ("discover.min_cluster_fraction=0", "discover.min_cluster_size=6", "discover.min_samples=3")
    assert (cluster(folder, "few.npy", *size)[1][-9:] > 0).all()
    assert cluster(folder, "few.npy", "discover.outliers=nearest")[0].max() == 2
