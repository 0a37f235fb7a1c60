import numpy as np
import pytest
from beam_corpus import build, examples, make_folder, pixels

from beam_jobs import extract_features
from groundwork.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset, and a SavedModel whose features are the mean colour."""
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
    sources = ["--model", str(root / "model"), "--input", str(root / "d"), "--output", str(output)]
    extract_features.main([*sources, "--runner", "in_process", "--batch_size", "5", *arguments])


def test_features_are_those_of_the_images_in_their_order(root, tmp_path):
    run(root, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
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
    for path in (tmp_path / "parquet").iterdir():
        table = parquet.read_table(path)
        arrays = np.load(tmp_path / "npz" / f"{path.stem}.npz")
        assert table["key"].to_pylist() == arrays["key"].tolist()
        assert table["label"].to_pylist() == arrays["label"].tolist()
        np.testing.assert_array_equal(table["features"].to_pylist(), arrays["features"])
    assert not list((tmp_path / "npz").glob("validation*"))


def test_what_is_no_such_model_is_named(root, tmp_path):
    common = ["--input", str(root / "d"), "--output", str(tmp_path), "--runner", "in_process"]
    with pytest.raises(UserError, match="is no SavedModel"):
        extract_features.main(["--model", str(tmp_path), *common])
    with pytest.raises(UserError, match=r"has no signature features, only: "):
        extract_features.main(["--model", str(root / "other"), *common])
