"""python -m pipeline.compare."""

import json

import numpy as np
import pytest
from scipy import stats

from groundwork.errors import UserError
from pipeline import compare
from pipeline.evaluation.comparison import interval, paired_difference

LABELS = np.arange(400) % 4


def write_report(folder, accuracies, predictions, test="same", shots="10"):
    folder.mkdir()
    mean = float(np.mean(accuracies))
    std = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    score = {"mean": mean, "std": std, "accuracies": accuracies}
    split = {"name": "test", "num_examples": len(LABELS), "fingerprint": test}
    result = {"few_shot": {"model": {shots: score}}, "data": {"splits": {"test": split}}}
    (folder / "result.json").write_text(json.dumps(result))
    np.savez(folder / "predictions.npz", label=LABELS, few_shot=predictions)
    return str(folder)


def wrong(share):
    """Predictions of which the first `share` are wrong."""
    return np.where(np.arange(len(LABELS)) < share * len(LABELS), LABELS + 1, LABELS)


def test_reports_side_by_side_with_intervals_and_paired_differences(tmp_path, capsys):
    first = write_report(tmp_path / "a", [0.8], wrong(0.2))
    better = write_report(tmp_path / "b", [0.9], wrong(0.1))
    same = write_report(tmp_path / "c", [0.8], np.roll(wrong(0.2), 4))
    other = write_report(tmp_path / "d", [0.5], wrong(0.5), test="other")
    fewer = write_report(tmp_path / "e", [0.5], wrong(0.5), shots="5")
    target = tmp_path / "table.md"
    reports = [first, better, same, other, fewer]
    assert compare.main([*reports, "--output", str(target)]) == 0
    text = capsys.readouterr().out
    assert target.read_text().strip() == text.strip()
    assert "80.0 [76.1, 83.9]" in text
    assert f"- {better}: few_shot (10) +10.0 ± 2.9 points\n" in text
    assert f"- {same}: few_shot (10) +0.0 ± " in text and "(within chance)" in text
    assert f"- {other}: other test images" in text
    assert f"- {fewer}: no setting in common" in text


def test_interval_covers_test_images_and_seeds():
    score = {"mean": 0.8, "std": 0.0, "accuracies": [0.8]}
    low, high = interval(score, 1000)
    expected = stats.norm.interval(0.95, 0.8, np.sqrt(0.16 / 1000))
    assert (low, high) == pytest.approx(expected, abs=1e-6)
    over_seeds = {"mean": 0.8, "std": 0.02, "accuracies": [0.78, 0.8, 0.82]}
    low, high = interval(over_seeds, 10**9)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, 0.8, 0.02 / np.sqrt(3)), abs=1e-4)
    assert interval({"mean": 1.0, "std": 0.1, "accuracies": [1.0, 1.0]}, 10)[1] == 1.0


def test_paired_difference_is_that_of_a_t_test_on_the_same_images():
    generator = np.random.default_rng(0)
    first, second = (np.where(generator.random(400) < p, LABELS, LABELS + 1) for p in (0.7, 0.8))
    mean, half = paired_difference(LABELS, first, second)
    hits = [np.float64(one == LABELS) for one in (second, first)]
    expected = stats.ttest_rel(*hits).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx(tuple(expected), abs=1e-3)


def test_a_folder_without_report_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a transfer report"):
        compare.main([str(tmp_path)])
    with pytest.raises(UserError, match="reports"):
        compare.main([])
