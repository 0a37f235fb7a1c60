"""Dataset folders that TFDS wrote, without the feature `key`, and damaged ones."""

import json
import shutil

import numpy as np
import pytest
from beam_corpus import build, encoded
from PIL import Image

from beam_jobs import describe_dataset, extract_features, find_duplicates, verify_dataset
from beam_jobs.dataset import dataset_reader
from groundwork.errors import JobError, UserError

tfds = pytest.importorskip("tensorflow_datasets")


def photo(number: int) -> Image.Image:
    """A picture with as much detail as a photograph has."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return coarse.resize((160, 120), Image.Resampling.BICUBIC)


class Pictures(tfds.core.GeneratorBasedBuilder):
    """Twelve pictures of two classes, as a dataset of TFDS has them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"test": self._generate_examples()}

    def _generate_examples(self):
        for number in range(12):
            yield number, {"image": np.asarray(photo(number)), "label": number % 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    builder = Pictures(data_dir=tmp_path_factory.mktemp("tfds"))
    builder.download_and_prepare()
    return builder.data_dir


def run(job, *arguments: str) -> None:
    job.main([*arguments, "--runner", "in_process"])


def test_verify(folder, capsys):
    run(verify_dataset, "--input", str(folder))
    assert "12 images, 1 shards, no fault" in capsys.readouterr().out


def test_describe(folder, tmp_path):
    run(describe_dataset, "--input", str(folder), "--output", str(tmp_path))
    assert json.loads((tmp_path / "dataset.json").read_text())["images"] == 12


def test_find_duplicates(folder, tmp_path):
    """The paper's use: what of one's own images is in a test set?"""
    for number in range(10):
        path = tmp_path / "in" / "a" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(photo(number)))
    build(tmp_path / "in", tmp_path / "own", "--splits", "train:1")
    own = ("--input", str(tmp_path / "own"), "--output", str(tmp_path / "report"))
    run(find_duplicates, *own, "--against", str(folder))
    excluded = (tmp_path / "report" / "exclude.txt").read_text().splitlines()
    assert excluded == [f"a/{number}.jpg" for number in range(10)]
    first = json.loads((tmp_path / "report" / "pairs.jsonl").read_text().splitlines()[0])
    assert first["first"].startswith("test-00000:")


def test_extract_features(folder, tmp_path):
    tf = pytest.importorskip("tensorflow")

    class Mean(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
        def features(self, image):
            decode = lambda one: tf.reduce_mean(  # noqa: E731
                tf.cast(tf.io.decode_image(one, 3, expand_animations=False), tf.float32), (0, 1)
            )
            return {"features": tf.map_fn(decode, image, tf.float32)}

    model = Mean()
    tf.saved_model.save(model, str(tmp_path / "m"), signatures={"features": model.features})
    places = ("--input", str(folder), "--output", str(tmp_path / "f"))
    run(extract_features, "--model", str(tmp_path / "m"), *places)
    (file,) = (tmp_path / "f").glob("*.npz")
    with np.load(file) as arrays:
        assert arrays["key"].tolist() == [f"test-00000:{number}" for number in range(12)]
        assert arrays["features"].shape == (12, 3)


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dataset_info.json", "{", "the metadata of .* are not what TFDS writes"),
        ("features.json", "[]", "the metadata of .* are not what TFDS writes"),
        ("features.json", None, "the metadata of .* are not what TFDS writes"),
    ],
)
def test_damaged_metadata_are_one_line(copy, name, content, message):
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        run(verify_dataset, "--input", str(copy))
    assert "\n" not in str(raised.value)


def test_no_code_of_a_dataset_is_imported(copy, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)
    text = (copy / "features.json").read_text()
    name = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    assert name in text
    (copy / "features.json").write_text(text.replace(name, "evil.Features"))
    with pytest.raises(UserError, match=r"names the class evil.Features: only those of"):
        dataset_reader.open_dataset(str(copy))


def test_other_record_formats_are_refused(copy):
    info = json.loads((copy / "dataset_info.json").read_text())
    info["fileFormat"] = "array_record"
    (copy / "dataset_info.json").write_text(json.dumps(info))
    for path in copy.glob("*.tfrecord*"):
        path.rename(str(path).replace("tfrecord", "array_record"))
    with pytest.raises(UserError, match="only TFRecord files named"):
        run(verify_dataset, "--input", str(copy))


def test_a_damaged_shard_is_one_line_in_every_job(copy, tmp_path):
    (shard,) = copy.glob("*.tfrecord*")
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(JobError, match=r"after 11 images: record 11 .*verify_dataset names all"):
        run(describe_dataset, "--input", str(copy), "--output", str(tmp_path / "report"))
    with pytest.raises(JobError, match="make it again with the program that has written it"):
        run(verify_dataset, "--input", str(copy))
