"""python -m pipeline.compare."""

import numpy as np
import pytest
from scipy import stats
from transfer_results import few_shot_result, write_report

from groundwork.errors import UserError
from pipeline import compare
from pipeline.evaluation.protocols.scores import score
from pipeline.evaluation.reports.significance import interval, paired_difference
from pipeline.evaluation.reports.transfer_result import TransferResult

LABELS = np.arange(400) % 4


def wrong(*shares):
    """Predictions of which the first so many are wrong, for each seed."""
    number = np.arange(len(LABELS))
    return np.stack(
        [np.where(number < share * len(LABELS), LABELS + 1, LABELS) for share in shares]
    )


@pytest.fixture
def reports(tmp_path):
    return {
        "first": write_report(tmp_path / "a", LABELS, wrong(0.2)),
        "better": write_report(tmp_path / "b", LABELS, wrong(0.1)),
        "same": write_report(tmp_path / "c", LABELS, np.roll(wrong(0.2), 4, axis=1)),
        "other": write_report(tmp_path / "d", LABELS, wrong(0.5), test="other"),
        "fewer": write_report(tmp_path / "e", LABELS, wrong(0.5), shots="5"),
    }


def test_reports_side_by_side_with_intervals_and_paired_differences(reports, tmp_path, capsys):
    target = tmp_path / "table.md"
    assert compare.main([*reports.values(), "--output", str(target)]) == 0
    text = capsys.readouterr().out
    assert target.read_text().strip() == text.strip()
    assert "80.0 [75.8, 83.6]" in text
    assert f"- {reports['better']}: few_shot (10) +10.0 ± 2.9 points, p < 0.0001\n" in text
    assert f"- {reports['same']}: few_shot (10) +0.0 ± " in text
    assert "p = 1 (within chance)" in text
    assert f"- {reports['other']}: other test images" in text
    assert f"- {reports['fewer']}: no setting in common" in text


def test_the_difference_is_that_of_the_table_over_all_seeds(tmp_path, capsys):
    ours = write_report(tmp_path / "a", LABELS, wrong(0.7, 0.6, 0.65))
    theirs = write_report(tmp_path / "b", LABELS, wrong(0.5, 0.6, 0.4))
    compare.main([ours, theirs])
    text = capsys.readouterr().out
    assert "35.0 [" in text and "50.0 [" in text and "few_shot (10) +15.0 ± " in text
    assert "first" not in text.replace("first report", "")
    one = write_report(tmp_path / "c", LABELS, wrong(0.5))
    compare.main([ours, one])
    assert "few_shot (10) +20.0 ± 3.9 points, p < 0.0001, first seed of each" in (
        capsys.readouterr().out
    )


def test_the_page_says_who_is_best_and_by_how_much(reports, tmp_path):
    page = tmp_path / "comparison.html"
    compare.main([*reports.values(), "--output", str(page)])
    text = page.read_text()
    assert f"{reports['better']} is best: 90.0 % by Few-shot (images per class: 10)" in text
    assert f"10.0 points above {reports['first']} (p &lt; 0.0001)" in text
    assert "other test images" in text
    compare.main([reports["better"], reports["first"], reports["same"], "--output", str(page)])
    assert f"10.0 points above {reports['first']} (p &lt; 0.0001)" in page.read_text()


def test_interval_covers_test_images_and_seeds():
    low, high = interval(score([0.8], {}), 1000)
    wilson = stats.binomtest(800, 1000).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((wilson.low, wilson.high))
    low, high = interval(score([0.78, 0.8, 0.82], {}), 10**9)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, 0.8, 0.02 / np.sqrt(3)), abs=1e-4)
    low, high = interval(score([1.0], {}), 890)  # all right is no proof of no error
    assert low == pytest.approx(890 / (890 + stats.norm.ppf(0.975) ** 2)) and high == 1.0
    assert interval(score([0.0], {}), 10)[0] == 0.0


def test_one_seed_is_tested_as_mcnemar_does_and_its_interval_is_that_of_a_t_test():
    generator = np.random.default_rng(0)
    first, second = (
        np.where(generator.random((1, 400)) < p, LABELS, LABELS + 1) for p in (0.7, 0.8)
    )
    found = paired_difference(LABELS, first, second)
    hits = [np.float64(one[0] == LABELS) for one in (second, first)]
    expected = stats.ttest_rel(*hits).confidence_interval(0.95)
    low, high = found.mean - found.half_width, found.mean + found.half_width
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-3)
    better, worse = int(np.sum(hits[0] > hits[1])), int(np.sum(hits[0] < hits[1]))
    assert found.p_value == pytest.approx(stats.binomtest(better, better + worse).pvalue)


def test_what_is_no_report_or_cannot_be_written_is_named(reports, tmp_path):
    with pytest.raises(UserError, match="is not a transfer report"):
        compare.main([str(tmp_path)])
    with pytest.raises(UserError, match="reports"):
        compare.main([])
    with pytest.raises(UserError, match=r"ends in \.md or \.html"):
        compare.main([reports["first"], "--output", str(tmp_path / "x.pdf")])
    with pytest.raises(UserError, match=r"cannot be written .*name another file"):
        compare.main([reports["first"], "--output", f"{reports['first']}/result.json/x.md"])
    (tmp_path / "a" / "predictions.npz").unlink()
    with pytest.raises(UserError, match=r"has no predictions of few_shot .*write the report again"):
        compare.main([reports["first"], reports["better"]])
    (tmp_path / "a" / "result.json").write_text('{"few_shot": {}}')
    with pytest.raises(UserError, match="of another version of this project"):
        compare.main([reports["first"]])


def test_a_result_is_read_back_as_it_was():
    result = few_shot_result({"5": score([0.5, 0.7], {"l2": 1.0})})
    assert TransferResult.from_json(result.to_json()) == result
