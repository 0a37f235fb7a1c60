import io

import numpy as np
import pytest
from beam_corpus import build, examples, make_folder, pixels

from beam_jobs import extract_features
from groundwork import storage
from groundwork.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset, and a SavedModel whose features are the mean color."""
    tf = pytest.importorskip("tensorflow")
    root = tmp_path_factory.mktemp("features")
    build(make_folder(root / "in"), root / "d", "--shards", "2")

    class MeanColour(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def features(self, images):
            def one(image):
                decoded = tf.io.decode_image(image, channels=3, expand_animations=False)
                return tf.reduce_mean(tf.cast(decoded, tf.float32), axis=(0, 1))

            return {"features": tf.map_fn(one, images, fn_output_signature=tf.float32)}

    model = MeanColour()
    for name, signatures in (("model", {"features": model.features}), ("other", {})):
        tf.saved_model.save(model, str(root / name), signatures=signatures)
    return root


def run(root, output, *arguments: str) -> None:
    sources = ["--model", f"{root}/model", "--input", f"{root}/d", "--output", str(output)]
    extract_features.main([*sources, "--runner", "in_process", "--batch_size", "5", *arguments])


def test_features_are_those_of_the_images_in_their_order(root, tmp_path):
    run(root, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 4
    for split in ("train", "validation"):
        files = [np.load(path) for path in sorted(tmp_path.glob(f"{split}-*.npz"))]
        stored = examples(root / "d", split)
        keys = np.concatenate([file["key"] for file in files])
        assert keys.tolist() == [example.key for example in stored]
        labels = np.concatenate([file["label"] for file in files])
        assert labels.tolist() == [example.labels[0] for example in stored]
        found = np.concatenate([file["features"] for file in files])
        expected = [pixels(example.image).mean(axis=(0, 1)) for example in stored]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2)  # decoders round differently


def test_parquet_holds_the_same(root, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    run(root, tmp_path / "npz", "--splits", "train")
    run(root, tmp_path / "parquet", "--splits", "train", "--format", "parquet")
    assert len(list((tmp_path / "parquet").glob("*.parquet"))) == 2
    for path in (tmp_path / "parquet").glob("*.parquet"):
        table = parquet.read_table(path)
        arrays = np.load(tmp_path / "npz" / f"{path.stem}.npz")
        assert table["key"].to_pylist() == arrays["key"].tolist()
        assert table["label"].to_pylist() == arrays["label"].tolist()
        np.testing.assert_array_equal(table["features"].to_pylist(), arrays["features"])
    assert not list((tmp_path / "npz").glob("validation*"))


def test_a_second_run_makes_only_what_is_missing(root, tmp_path, capsys):
    run(root, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.glob("*.npz")}
    gone, *kept = sorted(files)
    gone.unlink()
    written = {path: path.stat().st_mtime_ns for path in kept}
    capsys.readouterr()
    run(root, tmp_path)
    assert "1 of 4 shards" in capsys.readouterr().out
    assert gone.read_bytes() == files[gone]
    assert {path: path.stat().st_mtime_ns for path in kept} == written
    with pytest.raises(UserError, match="--format was 'npz' and is 'parquet'"):
        run(root, tmp_path, "--format", "parquet")


def test_model_dataset_and_features_in_a_bucket(root, bucket, tmp_path):
    for name in ("model", "d"):
        for path in (root / name).rglob("*"):
            if path.is_file():
                with storage.create(f"{bucket}/{path.relative_to(root).as_posix()}") as file:
                    file.write(path.read_bytes())
    run(root, tmp_path / "local")
    run(bucket, f"{bucket}/features")
    for path in (tmp_path / "local").glob("*.npz"):
        remote = np.load(io.BytesIO(storage.read(f"{bucket}/features/{path.name}")))
        np.testing.assert_array_equal(remote["features"], np.load(path)["features"])


def test_what_is_no_such_model_is_named(root, tmp_path):
    common = ["--input", str(root / "d"), "--output", str(tmp_path), "--runner", "in_process"]
    with pytest.raises(UserError, match="is no SavedModel"):
        extract_features.main(["--model", str(tmp_path), *common])
    with pytest.raises(UserError, match=r"has no signature features, only: "):
        extract_features.main(["--model", str(root / "other"), *common])
