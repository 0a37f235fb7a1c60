import json

import numpy as np
import pytest
from beam_corpus import build, encoded, examples, make_folder, picture, pixels

from beam_jobs import describe_dataset, find_duplicates
from beam_jobs.inspection import dataset_page
from beam_jobs.inspection.dataset_report import DatasetReport, Range
from groundwork.errors import UserError


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    root = tmp_path_factory.mktemp("describe")
    corpus = make_folder(root / "in", classes=2, per_class=10)
    (corpus / "<b>" / "x").mkdir(parents=True)
    (corpus / "<b>" / "x" / "large.png").write_bytes(encoded(picture(50, (90, 70)), "PNG"))
    copy = (corpus / "class_0" / "image 0.jpg").read_bytes()
    (corpus / "class_1" / "copy.jpg").write_bytes(copy)
    build(corpus, root / "d", "--shards", "3")
    run = ["--input", str(root / "d"), "--output", str(root / "report"), "--pictures", "7"]
    describe_dataset.main([*run, "--runner", "in_process"])
    return root


def test_values_are_those_of_a_plain_program(described):
    values = json.loads((described / "report" / "dataset.json").read_text())
    stored = examples(described / "d") + examples(described / "d", "validation")
    flat = np.concatenate([pixels(example.image).reshape(-1, 3) for example in stored]) / 255
    assert values["images"] == 22
    assert values["splits"]["train"] == len(examples(described / "d"))
    totals = {name: sum(counts.values()) for name, counts in values["classes"].items()}
    assert totals == {"<b>": 1, "class_0": 10, "class_1": 11}
    assert values["channel_mean"] == pytest.approx(flat.mean(axis=0).tolist(), abs=1e-5)
    assert values["channel_deviation"] == pytest.approx(flat.std(axis=0).tolist(), abs=1e-5)
    assert values["width"] == {"min": 30, "median": 30, "max": 90}
    assert values["height"] == {"min": 20, "median": 20, "max": 70}
    assert values["shorter_side"] == {"below 32": 21, "32 to 63": 0, "64 to 127": 1}
    assert values["formats"] == {"JPEG": 21, "PNG": 1}
    assert values["equal_images"] == 1
    assert values["equal_groups"] == [["class_0/image 0.jpg", "class_1/copy.jpg"]]


def test_the_page_shows_pictures_and_escapes_names(described):
    page = (described / "report" / "index.html").read_text()
    assert "22 images of 3 classes; the largest class is 11.0 times the smallest" in page
    assert "1 image has the bytes of another one." in page
    assert "class_1/copy.jpg" in page
    assert page.count("<img") == 7
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize("job", [describe_dataset, find_duplicates])
def test_an_output_that_cannot_be_written_is_told_before_the_job(described, tmp_path, job):
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "file" / "report")
    with pytest.raises(UserError, match=r"cannot write .*/file/report \(Not a directory\): name"):
        job.main(["--input", str(described / "d"), "--output", output, "--runner", "in_process"])


@pytest.mark.parametrize(
    ("sizes", "ending"),
    [
        ([5], "5 images of 1 class"),
        ([1, 0], "1 image of 2 classes, 1 of which is empty"),
        ([4, 4], "8 images of 2 classes, equally many of each"),
        ([4, 6], "10 images of 2 classes, nearly balanced"),
        ([2, 1000], "1,002 images of 2 classes; the largest class is 500.0 times the smallest"),
    ],
)
def test_the_headline_says_how_balanced_the_classes_are(sizes, ending):
    classes = {str(number): {"train": size} for number, size in enumerate(sizes)}
    values = DatasetReport(
        dataset="d",
        images=sum(sizes),
        image_bytes=0,
        splits={"train": sum(sizes)},
        classes=classes,
        formats={},
        width=Range(1, 1, 1),
        height=Range(1, 1, 1),
        shorter_side={},
        channel_mean=[0, 0, 0],
        channel_deviation=[0, 0, 0],
        equal_images=0,
        equal_groups=[],
    )
    assert dataset_page.page(values, [], []).headline == ending
