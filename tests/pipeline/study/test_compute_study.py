"""Compute studies: what is run, what is kept, what is refused, and what is drawn.

But for one member, the commands that a study runs are played by a function that leaves the files
that they would leave.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import tensorflow as tf
from dataset_folders import REPOSITORY
from transfer_results import few_shot_result

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.evaluation.protocols.scores import Score
from pipeline.evaluation.reports.transfer_result import read_result
from pipeline.evaluation.transfer.transfer_config import TransferConfig
from pipeline.evaluation.transfer.transfer_evaluation import run_transfer
from pipeline.recipe.run_config import PretrainConfig
from pipeline.run.run_stages import run
from pipeline.study import run_study as study_run
from pipeline.study.check_study_config import check_study_config
from pipeline.study.cost import training_cost
from pipeline.study.member_folder import MemberFolder, pretrain_config, transfer_config
from pipeline.study.plan import plan_table
from pipeline.study.run_study import run_study
from pipeline.study.study_config import Assumptions, Downstream, Member, StudyConfig

VIT = {"variant": "Ti/8", "num_layers": 1, "width": 16, "mlp_dim": 32, "num_heads": 2}
RESNET = {"variant": "BiT-R50x1", "units": [1], "width_factor": 0.5}
STUDIES = sorted((REPOSITORY / "configs").glob("study_*.yaml"))


@pytest.fixture
def study(shapes_folder, tmp_path):
    """Two ViTs and a ResNet on the shapes."""
    return StudyConfig(
        output=str(tmp_path / "study"),
        base={
            "data": {"source": str(shapes_folder), "image_size": 16, "shuffle_window": 32},
            "model": VIT,
            "optim": {"warmup_steps": 2},
            "log": {"every_steps": 2, "images": 0},
            "batch_size": 16,
            "steps": 4,
        },
        members=[
            Member("small", "ViT"),
            Member("large", "ViT", {"model": {"width": 32}, "steps": 8}),
            Member("conv", "ResNet", {"model": None}),
        ],
        downstream=[Downstream("shapes", {"source": str(shapes_folder)})],
        transfer={"few_shot": {"shots": [1, 5]}, "baselines": [], "attention_images": 0},
        assumptions=Assumptions(3, 90, "TPUv3 core", 61.5, 0.5),
    )


@pytest.fixture(autouse=True)
def resnet_member(study):
    """A member has its own model alone: the ResNet has nothing of the base's ViT."""
    del study.base["model"]
    for member in study.members:
        own = member.recipe.get("model") or {}
        member.recipe["model"] = dict(RESNET) if member.family == "ResNet" else VIT | own


class Commands:
    """Plays pipeline.pretrain and pipeline.transfer; tells what was asked of it."""

    def __init__(self):
        self.ran = []
        self.status = {}
        self.accuracy = {"small": 0.6, "large": 0.8, "conv": 0.7, "conv2": 0.75}

    def __call__(self, module, arguments):
        option, path = arguments
        assert option == "--config"
        command = module.rpartition(".")[2]
        member = Path(path).relative_to(Path(path).parents[2 if command == "transfer" else 1])
        name = member.parts[0]
        self.ran.append((command, name))
        if status := self.status.get(name):
            return status
        if command == "pretrain":
            self._train(command_line.parse(PretrainConfig, ["--config", path], prog=""))
        else:
            self._evaluate(command_line.parse(TransferConfig, ["--config", path], prog=""), name)
        return 0

    def _train(self, recipe):
        rows = [
            {
                "step": step,
                "speed/step_seconds": 1.8,
                "speed/images_per_second": 20.0,
                "speed/images_per_second_per_device": 10.0,
            }
            for step in range(2, recipe.steps + 1, 2)
        ]
        Path(recipe.workdir).mkdir(parents=True)
        lines = [json.dumps(row) + "\n" for row in [*rows, {"step": recipe.steps, "eval/loss": 1}]]
        Path(recipe.workdir, "metrics.jsonl").write_text("".join(lines))

    def _evaluate(self, transfer, name):
        score = Score(self.accuracy[name], 0.02, [0.0] * 4, {})
        result = few_shot_result({"1": score, "5": score}, test_examples=100)
        Path(transfer.output).mkdir(parents=True, exist_ok=True)
        Path(transfer.output, "result.json").write_text(result.to_json())


@pytest.fixture
def commands(monkeypatch):
    played = Commands()
    monkeypatch.setattr(study_run, "run_module", played)
    return played


def stored(study):
    return json.loads(Path(study.output, "results.json").read_text())


def test_a_member_is_really_trained_and_evaluated(study, monkeypatch):
    def run_here(module, arguments):
        if module == "pipeline.pretrain":
            return run(command_line.parse(PretrainConfig, arguments, prog=""))
        run_transfer(command_line.parse(TransferConfig, arguments, prog=""))
        return 0

    monkeypatch.setattr(study_run, "run_module", run_here)
    study.members = study.members[:1]
    assert run_study(study) == 0
    (member,) = stored(study)["members"]
    report = Path(study.output, "members/small/transfer/shapes/result.json")
    result = read_result(str(report.parent))
    assert member["scores"]["shapes"]["mean"] == result.protocols["few_shot"].model["5"].mean
    assert (member["steps"], member["images"]) == (4, 64)
    assert member["flops"] == training_cost(pretrain_config(study, study.members[0]), 3, 64).flops
    assert 0 < member["device_hours"] < 1


def test_the_report_has_figure_table_and_ratio(study, commands, capsys):
    assert run_study(study) == 0
    assert [name for command, name in commands.ran if command == "pretrain"] == [
        "small",
        "large",
        "conv",
    ]
    found = stored(study)
    of = {member["name"]: member for member in found["members"]}
    assert of["large"]["mean"]["mean"] == 0.8
    assert of["large"]["device_hours"] == pytest.approx(8 * 1.8 * 2 / 3600)
    ratio = next(one for one in found["ratios"] if one["unit"] == "flops")
    assert (ratio["family"], ratio["reference"]) == ("ResNet", "ViT")
    halfway = (of["small"]["flops"] * of["large"]["flops"]) ** 0.5  # 0.7 is halfway to 0.8
    assert ratio["ratio"]["mean"] == pytest.approx(of["conv"]["flops"] / halfway)
    text = Path(study.output, "table.md").read_text()
    assert "80.0 ± 4.1" in text  # the root of 0.8 · 0.2 / 100 + 0.02² / 4
    assert text.splitlines()[2] in capsys.readouterr().out
    figure = tf.io.decode_png(Path(study.output, "figure.png").read_bytes())
    assert figure.shape[1] > 800
    page = Path(study.output, "study.html").read_text()
    assert "data:image/png;base64," in page and "ResNet / ViT" in page
    times = ratio["ratio"]["mean"]
    assert f"for the same accuracy ResNet takes {times:.2g} times the FLOPs of ViT" in page
    assert "large (ViT) is best: 80.0 ± 4.1 %" in page


def test_what_is_finished_is_kept_and_members_are_added(study, commands):
    study.members, added = study.members[:2], study.members[2]
    run_study(study)
    commands.ran.clear()
    study.members.append(added)
    run_study(study)
    assert commands.ran == [("pretrain", "conv"), ("transfer", "conv")]
    assert len(stored(study)["members"]) == 3


def test_a_report_of_another_version_is_written_again(study, commands):
    run_study(study)
    commands.ran.clear()
    report = Path(study.output, "members/large/transfer/shapes/result.json")
    report.write_text('{"few_shot": {"model": {}}}')
    run_study(study)
    assert commands.ran == [("transfer", "large")]


def test_an_output_that_cannot_be_written_is_named(study, commands, tmp_path):
    (tmp_path / "file").touch()
    study.output = str(tmp_path / "file" / "study")
    with pytest.raises(UserError, match=r"cannot write .*file/study"):
        run_study(study)
    assert not commands.ran


def test_machines_share_the_members_and_each_draws_what_is_there(study, commands):
    study.member = "1/2"
    run_study(study)
    assert {name for _, name in commands.ran} == {"large"}
    assert stored(study)["unfinished"] == ["small", "conv"]
    study.member = "0/2"
    run_study(study)
    assert {name for _, name in commands.ran} == {"small", "large", "conv"}
    assert stored(study)["unfinished"] == []


def test_a_member_that_another_process_runs_is_left_alone(study, commands, capsys):
    with MemberFolder(study, study.members[0]).lock():
        run_study(study)
    assert {name for _, name in commands.ran} == {"large", "conv"}
    assert "small (1/3) is run by another process" in capsys.readouterr().out


def test_another_recipe_is_refused_or_trained_anew(study, commands):
    run_study(study)
    commands.ran.clear()
    study.base["optim"]["peak_lr"] = 0.5
    study.base["log"]["every_steps"] = 1  # makes no other model
    with pytest.raises(UserError, match=r"small .*optim.peak_lr: 0.001 before, now 0.5.*retrain"):
        run_study(study)
    study.retrain = ["small", "large", "conv"]
    run_study(study)
    assert [name for command, name in commands.ran if command == "pretrain"] == study.retrain


def test_other_options_of_transfer_evaluate_again(study, commands, capsys):
    run_study(study)
    commands.ran.clear()
    study.transfer["few_shot"]["l2"] = [1.0]
    run_study(study)
    assert [command for command, _ in commands.ran] == ["transfer"] * 3
    assert "options of transfer have changed" in capsys.readouterr().out


def test_a_dataset_that_is_absent_is_listed_and_the_rest_runs(study, commands, tmp_path):
    obtain = "apt-get install clothes"
    study.downstream.append(
        Downstream("clothes", {"source": str(tmp_path / "clothes")}, obtain=obtain)
    )
    assert run_study(study) == 0
    assert obtain in stored(study)["absent"]["clothes"]
    assert stored(study)["downstream"] == ["shapes"]
    assert obtain in Path(study.output, "table.md").read_text()
    study.downstream = study.downstream[1:]
    with pytest.raises(UserError, match="no downstream dataset is there"):
        run_study(study)


def test_a_member_that_fails_does_not_stop_the_others(study, commands, capsys):
    commands.status["small"] = 1
    assert run_study(study) == 1
    assert stored(study)["unfinished"] == ["small"]
    assert "failed: small" in capsys.readouterr().out
    del commands.status["small"]
    assert run_study(study) == 0


def test_being_told_to_end_ends_the_study(study, commands):
    commands.status["large"] = 128 + signal.SIGINT
    with pytest.raises(SystemExit, match="130"):
        run_study(study)
    assert {name for _, name in commands.ran} == {"small", "large"}


def test_members_of_other_data_are_not_mixed(study, commands):
    run_study(study)
    trained = Path(study.output, "members/large/trained.json")
    trained.write_text(json.dumps(json.loads(trained.read_text()) | {"fingerprint": "other"}))
    with pytest.raises(UserError, match="small and large saw different data as pre-training"):
        run_study(study)


def test_a_score_that_no_report_has_is_an_error(study, commands):
    study.score = "few_shot/10"
    with pytest.raises(UserError, match=r"have few_shot/1, few_shot/5"):
        run_study(study)


def test_the_plan_reckons_flops_hours_and_storage(study):
    table = plan_table(study)
    row = next(line for line in table.splitlines() if line.startswith("| large"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    cost = training_cost(pretrain_config(study, study.members[1]), 3, 8 * 16)
    assert cells[5] == f"{cost.flops:.2e}"
    hours = cost.flops / (61.5e12 * 0.5) / 3600
    assert float(cells[6]) == pytest.approx(hours, rel=0.1)
    parameters = cost.model.parameters  # 3 checkpoints with AdamW's two moments, 2 exports
    assert float(cells[8]) == pytest.approx(4 * parameters * (3 * 3 + 2) / 1e9, rel=0.1)
    assert not Path(study.output).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda study: study.members.append(study.members[0]), "small is there 2 times"),
        (lambda study: study.members.append(Member("a/b", "x")), "cannot name a folder"),
        (lambda study: study.downstream.clear(), "at least one"),
        (lambda study: setattr(study, "member", "2/2"), "i from 0 to n - 1"),
        (lambda study: setattr(study, "retrain", ["big"]), "there is no member big"),
        (lambda study: setattr(study, "score", "few_shot"), "PROTOCOL/SETTING"),
        (lambda study: study.base.update(workdir="w"), "base.workdir is set by the study"),
        (lambda study: setattr(study.assumptions, "utilization", 1.5), "at most 1"),
    ],
)
def test_settings_that_cannot_be_are_named(study, change, message):
    change(study)
    with pytest.raises(UserError, match=message):
        check_study_config(study)


def test_unknown_options_name_member_or_dataset(study):
    study.members[1].recipe["model"]["dept"] = 3
    with pytest.raises(UserError, match=r"member large: .*dept"):
        pretrain_config(study, study.members[1])
    study.transfer["shots"] = 3
    with pytest.raises(UserError, match=r"downstream shapes: .*shots"):
        transfer_config(study, study.members[0], study.downstream[0])


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_are_valid(path):
    study = command_line.parse(StudyConfig, ["--config", str(path)], prog="")
    check_study_config(study)
    for member in study.members:
        recipe = pretrain_config(study, member)
        assert training_cost(recipe, study.assumptions.num_classes, 1).flops > 0
        for dataset in study.downstream:
            transfer_config(study, member, dataset)


def test_flags_stand_for_true():
    argv = ["--config", str(STUDIES[0]), "--plan", "--member", "0/2"]
    assert command_line.parse(StudyConfig, argv, prog="").plan
