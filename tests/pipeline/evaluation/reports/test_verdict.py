"""The result in words."""

import pytest

from pipeline.evaluation.protocols.scores import score
from pipeline.evaluation.reports.transfer_result import Contrast, ProtocolResult
from pipeline.evaluation.reports.verdict import advice, verdict


def protocol(heading, accuracy, setting=""):
    scores = {"model": {"1": score([0.1], {}), "5": score([accuracy], {})}}
    return ProtocolResult(heading, setting, scores)


PROBE = protocol("Linear probe", 0.95)
TUNED = protocol("Fine-tuning", 0.98)
SHOTS = protocol("Few-shot", 0.7, "images per class")


def contrast(name, baseline, difference, is_significant=True):
    return Contrast(name, baseline, difference, 0.01 if is_significant else 0.5, is_significant)


@pytest.mark.parametrize(
    ("contrasts", "expected"),
    [
        ([], "Linear probe: 95.0 % of 1,000 test images are right."),
        (
            [contrast("probe", "untrained", 0.3), contrast("probe", "raw_pixels", -0.02)],
            "Linear probe: 95.0 % of 1,000 test images are right, which is 30.0 points above the "
            "untrained model and 2.0 points below raw pixels.",
        ),
        (
            [contrast("probe", "raw_pixels", 0.004, is_significant=False)],
            "Linear probe: 95.0 % of 1,000 test images are right, which is not distinguishable "
            "from raw pixels.",
        ),
    ],
)
def test_the_best_protocol_against_its_baselines(contrasts, expected):
    assert verdict({"few_shot": SHOTS, "probe": PROBE}, contrasts, "1,000 test images") == expected


def test_fine_tuning_has_no_baselines_so_the_best_frozen_protocol_is_said_too():
    found = verdict(
        {"few_shot": SHOTS, "fine_tune": TUNED},
        [contrast("few_shot", "raw_pixels", 0.1)],
        "50 test images",
    )
    assert found == (
        "Fine-tuning: 98.0 % of 50 test images are right. On frozen features, Few-shot (images per "
        "class: 5) reaches 70.0 %, which is 10.0 points above raw pixels."
    )


def test_what_to_do_where_the_model_is_no_better():
    better = contrast("probe", "untrained", 0.3)
    for worse in (
        contrast("probe", "raw_pixels", -0.02),
        contrast("probe", "raw_pixels", 0.01, is_significant=False),
    ):
        told = advice([contrast("few_shot", "untrained", -0.1), better, worse], "datasets/x")
        assert "no better than raw pixels. " in told
        assert "pipeline.finetune" in told and "--data.source datasets/x" in told
    assert advice([contrast("few_shot", "raw_pixels", -0.1), better], "datasets/x") is None
    assert advice([], "datasets/x") is None
