"""Recall on changed copies and mistakes on unrelated photographs, measured on real ones."""

import io
import itertools
import json

import numpy as np
import pytest
from beam_corpus import build, encoded, examples, make_folder
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_images

from beam_jobs import find_duplicates
from beam_jobs.duplicates import pair_search, perceptual_hash
from beam_jobs.duplicates.similar_pairs import Entries, each_once, pairs_in_table, tables
from groundwork.errors import UserError

TILE = 80
ASKED = perceptual_hash.asked(crops=True)


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float):
    width, height = image.size
    return image.crop((left * width, top * height, width * (1 - right), height * (1 - bottom)))


def laid_over(image: Image.Image, text: str = "breaking news") -> Image.Image:
    """With text on white over its lower part."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height * 0.82, image.width, image.height * 0.95), fill="white")
    draw.text((5, image.height * 0.83), text, fill="black")
    return image


COPIES = {
    "jpeg60": lambda image: Image.open(io.BytesIO(encoded(image, quality=60))),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "center": lambda image: cropped(image, 0.025, 0.025, 0.025, 0.025),
    "left": lambda image: cropped(image, 0.05, 0, 0, 0),
    "corner": lambda image: cropped(image, 0, 0, 0.05, 0.05),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "mirrored": ImageOps.mirror,
    "jpeg40": lambda image: Image.open(io.BytesIO(encoded(image, quality=40))),
    "tenth": lambda image: cropped(image, 0, 0, 0, 0.1),
    "turned": lambda image: image.rotate(-3, Image.Resampling.BICUBIC),
    "text": laid_over,
}


@pytest.fixture(scope="module")
def tiles():
    """Parts of two photographs that do not overlap: 80 pictures of different things."""
    return [
        photograph.crop((x, y, x + TILE, y + TILE))
        for photograph in map(Image.fromarray, load_sample_images().images)
        for y in range(0, photograph.height - TILE + 1, TILE)
        for x in range(0, photograph.width - TILE + 1, TILE)
    ]


@pytest.fixture(scope="module")
def photographs():
    """Random parts of the photographs, as large as pictures are."""
    rng = np.random.default_rng(0)
    found = []
    for photograph in 40 * [Image.fromarray(image) for image in load_sample_images().images]:
        x, y = (
            int(rng.integers(limit)) for limit in (photograph.width - 300, photograph.height - 225)
        )
        found.append(photograph.crop((x, y, x + 300, y + 225)))
    return found


def similar_pairs(queries: np.ndarray, indexed: np.ndarray, max_distance: int) -> np.ndarray:
    """All tables together: query, image and distance of each pair, each once.

    `queries` and `indexed`: packed, uint8 `[images, variants, 32]`. Tables are those of a million.
    """
    images, variants = indexed.shape[:2]
    asked = Entries(np.repeat(np.arange(len(queries)), queries.shape[1]), queries.reshape(-1, 32))
    among = Entries(np.repeat(np.arange(images), variants), indexed.reshape(-1, 32))
    found = [pairs_in_table(asked, among, bits, max_distance) for bits in tables(1_000_000)]
    return each_once(np.concatenate(found, axis=1))


def hashes(images, **variants: bool) -> np.ndarray:
    stacks = [perceptual_hash.variants(image, **variants) for image in images]
    return np.packbits(np.stack(stacks), axis=-1)


@pytest.mark.parametrize("change", COPIES)
def test_changed_copies_are_found(photographs, change):
    """Recall of at least 95 %, also in a corpus of a million images."""
    indexed = hashes(photographs, crops=True, mirrored=change == "mirrored")
    queries = hashes(map(COPIES[change], photographs), crops=True, mirrored=False)[:, :ASKED]
    one, other, _ = similar_pairs(queries, indexed, 60)
    assert len(set(one[one == other].tolist())) / len(photographs) >= 0.95


def test_unrelated_photographs_are_not_paired(tiles):
    """At most 1 false pair in 10,000, also of patches of sky."""
    indexed = hashes(tiles, crops=True, mirrored=True)
    false_pairs = compared = 0
    for change in COPIES.values():
        queries = hashes(map(change, tiles), crops=True, mirrored=False)[:, :ASKED]
        one, other, _ = similar_pairs(queries, indexed, 60)
        false_pairs += int((one != other).sum())
        compared += len(tiles) * (len(tiles) - 1)
    assert compared > 40_000
    assert false_pairs / compared <= 1e-4


def test_pairs_are_those_of_comparing_all_with_all():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (400, 256)).astype(bool)
    copies = images.copy()
    copies[np.arange(400), rng.integers(0, 256, 400)] ^= True
    bits = np.packbits(np.concatenate((images, copies)), axis=-1)
    one, other, distance = similar_pairs(bits[:, None], bits[:, None], 60)
    found = {(a, b): d for a, b, d in zip(one.tolist(), other.tolist(), distance, strict=True)}
    unpacked = np.unpackbits(bits, axis=-1)
    expected = {}
    for a, b in itertools.product(range(800), repeat=2):
        apart = int((unpacked[a] != unpacked[b]).sum())
        if apart <= 60:
            expected[a, b] = apart
    assert found == expected


def test_a_crowd_of_equal_images_stays_cheap():
    same = np.zeros((5_000, 32), np.uint8)
    one, other, _ = similar_pairs(same[:, None], same[:, None], 60)
    assert set(one.tolist()) == set(range(5_000))
    assert len(one) <= 5_000 * 64
    assert len(other) == len(one)


@pytest.fixture(scope="module")
def datasets(tiles, tmp_path_factory):
    """A dataset of tiles, and one of changed copies of its first ten with ten of its own."""
    root = tmp_path_factory.mktemp("datasets")
    tiles = [tile for tile in tiles if np.asarray(tile).std() > 30]  # not the sky
    for name, images in {
        "first": tiles[:40],
        "second": [COPIES["half"](tile) for tile in tiles[:10]] + tiles[45:55],
    }.items():
        for number, image in enumerate(images):
            path = root / f"{name}_images" / "class" / f"{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image, quality=90))
        build(root / f"{name}_images", root / name, "--shards", "2")
    return root


def run(*arguments: str) -> None:
    find_duplicates.main([*arguments, "--runner", "in_process"])


def test_against_another_dataset(datasets, tmp_path, capsys):
    run("--input", str(datasets / "first"), "--against", str(datasets / "second"),
        "--output", str(tmp_path))  # fmt: skip
    expected = [f"class/{number:02d}.jpg" for number in range(10)]
    assert (tmp_path / "exclude.txt").read_text().splitlines() == expected
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert sorted((pair["first"], pair["second"]) for pair in pairs) == [(k, k) for k in expected]
    assert {pair["first_dataset"] for pair in pairs} == {str(datasets / "second")}
    page = (tmp_path / "index.html").read_text()
    assert page.count("<img") == 20
    assert "10 of 40 images (25.00%)" in capsys.readouterr().out
    # the list is what build_dataset takes
    build(datasets / "first_images", tmp_path / "clean", "--splits", "train:1",
          "--exclude", str(tmp_path / "exclude.txt"))  # fmt: skip
    assert len(examples(tmp_path / "clean")) == 30


def test_any_number_of_parts_finds_the_same(datasets, tmp_path, monkeypatch):
    """Also on several workers, which share nothing but what is grouped."""
    arguments = ["--input", f"{datasets}/first", "--against", f"{datasets}/second"]
    run(*arguments, "--output", str(tmp_path / "one"))
    monkeypatch.setattr(pair_search, "_PART_BYTES", 50 * 32)
    run(*arguments, "--output", str(tmp_path / "many"))
    find_duplicates.main([*arguments, "--output", str(tmp_path / "workers"), "--workers", "2"])
    one = (tmp_path / "one" / "pairs.jsonl").read_text()
    assert one.count("\n") == 10
    assert (tmp_path / "many" / "pairs.jsonl").read_text() == one
    assert (tmp_path / "workers" / "pairs.jsonl").read_text() == one


def test_within_one_dataset_one_of_each_group_stays(tmp_path):
    corpus = make_folder(tmp_path / "in", 1, 6)
    original = (corpus / "class_0" / "image 0.jpg").read_bytes()
    for name in ("a", "b"):
        (corpus / "class_0" / f"copy {name}.jpg").write_bytes(original)
    build(corpus, tmp_path / "d")
    run("--input", str(tmp_path / "d"), "--output", str(tmp_path / "report"))
    excluded = (tmp_path / "report" / "exclude.txt").read_text().splitlines()
    group = {"class_0/image 0.jpg", "class_0/copy a.jpg", "class_0/copy b.jpg"}
    assert len(excluded) == 2
    assert set(excluded) < group


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model whose features are the colors of an image's parts."""
    tf = pytest.importorskip("tensorflow")

    def look(image):
        pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
        return tf.reshape(tf.image.resize(pixels, (8, 8), antialias=True), (192,))

    class Colors(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
        def features(self, image):
            signature = tf.TensorSpec((192,), tf.float32)
            return {"features": tf.map_fn(look, image, fn_output_signature=signature)}

    folder = tmp_path_factory.mktemp("model")
    model = Colors()
    tf.saved_model.save(model, str(folder), signatures={"features": model.features})
    return folder


def test_by_the_features_of_a_model(datasets, exported, tmp_path):
    places = ["--input", f"{datasets}/first", "--against", f"{datasets}/second"]
    run(*places, "--features", str(exported), "--output", str(tmp_path), "--max_distance", "60")
    expected = [f"class/{number:02d}.jpg" for number in range(10)]
    assert (tmp_path / "exclude.txt").read_text().splitlines() == expected
    again = ["--output", str(tmp_path / "workers"), "--workers", "2", "--batch_size", "7"]
    find_duplicates.main([*places, "--features", str(exported), "--max_distance", "60", *again])
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    others = (tmp_path / "workers" / "pairs.jsonl").read_text().splitlines()
    # a batch's sums may round otherwise, and a bit on the plane's very edge turn
    assert [(p["first"], p["second"]) for p in pairs] == [
        (p["first"], p["second"]) for p in map(json.loads, others)
    ]


def test_what_is_no_model(datasets, tmp_path):
    arguments = ["--input", f"{datasets}/first", "--output", str(tmp_path / "report")]
    with pytest.raises(UserError, match=r"--features .* is no SavedModel"):
        run(*arguments, "--features", str(tmp_path))
    with pytest.raises(UserError, match="--max_distance 101 is not from 0 to 100"):
        run(*arguments, "--max_distance", "101")
