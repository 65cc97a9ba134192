"""A teacher: classes matched by name, unchanged by teaching, none where none is named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgewise import checkpoint
from edgewise.boxes import cxcywh_to_xyxy
from edgewise.checkpoint import Checkpoint
from edgewise.data.collate import collate
from edgewise.distributions import refined_boxes
from edgewise.losses.teaching import Lesson, lesson
from edgewise.structures import Batch
from edgewise.train.distill import Teacher, load_teacher
from edgewise.train.learner import Learner
from edgewise.train.step import pass_losses
from tests.train.tiny import NAMES, Patches, settings, tiny_config, tiny_model, trainer

CPU = torch.device("cpu")


def known(names: tuple[str, ...] = NAMES) -> Checkpoint:
    config = tiny_config(len(names))
    return Checkpoint(config, tiny_model(1, config).state_dict(), names)


def batch() -> Batch:
    return collate([Patches()[i] for i in range(3)], (64, 64))


def said(teacher: Teacher) -> Lesson:
    one = batch()
    return lesson(teacher.output(one.images), one.targets, teacher.values, settings().loss.matching)


def test_classes_are_matched_by_name() -> None:
    """A teacher of more classes in another order says the same as one of just these."""
    more = known(("white", "blue", "red", "green"))
    taught = said(Teacher(more, NAMES, CPU))
    rows = [more.class_names.index(name) for name in NAMES]
    weights = {
        key: value[rows] if value.shape[:1] == (4,) and "score_head" in key else value
        for key, value in more.weights.items()
    }
    weights["decoder.denoising_class_embed.weight"] = torch.zeros(4, 32)  # trains only
    alone = Teacher(Checkpoint(tiny_config(), weights, NAMES), NAMES, CPU)
    same = said(alone)
    assert taught.scores.shape == (len(batch().targets.labels), 3)
    torch.testing.assert_close(taught.scores, same.scores)
    torch.testing.assert_close(taught.probs, same.probs)


def test_a_teacher_that_lacks_a_class() -> None:
    with pytest.raises(ValueError, match=r"^old\.safetensors does not know 'green', 'blue'; it knows 'red'"):
        Teacher(known(("red",)), NAMES, CPU, "old.safetensors")


def test_what_it_says_are_its_own_boxes() -> None:
    """Mean edges of the lesson are edges of boxes that it predicts."""
    teacher, one = Teacher(known(), NAMES, CPU), batch()
    taught = said(teacher)
    mean = cxcywh_to_xyxy(refined_boxes(taught.initial, (taught.probs * taught.values).sum(-1)))
    with torch.no_grad():
        boxes = cxcywh_to_xyxy(teacher.model(one.images).boxes)[one.targets.image]  # [N, Q, 4]
    nearest = (boxes - mean[:, None]).abs().sum(-1).amin(1)
    assert nearest.max() < 1e-5


def test_a_run_with_a_teacher(tmp_path: Path) -> None:
    """Its terms are there in every step, also where there is no box; the teacher stays as it is."""
    path = tmp_path / "teacher.safetensors"
    checkpoint.save(path, known())
    config = settings(distill__teacher=str(path), accumulate=2, schedule__epochs=1)
    run = trainer(tmp_path / "run", config, data=Patches(background=0.5))
    assert run.learner.teacher is not None
    before = {name: value.clone() for name, value in run.learner.teacher.model.state_dict().items()}
    reports = list(run.steps())
    names = {f"{kind}/{layer}" for kind in ("kd_edges", "kd_scores") for layer in range(2)}
    for report in reports:
        assert not report.faults
        assert names <= set(report.losses)
    assert sum(report.by_kind()["kd_edges"] for report in reports) > 0
    assert run.history[-1]["loss"]["kd_scores"] > 0
    assert all(
        torch.equal(value, before[name]) for name, value in run.learner.teacher.model.state_dict().items()
    )
    assert not any(parameter.requires_grad for parameter in run.learner.teacher.model.parameters())


def test_passes_are_taught_what_the_whole_is() -> None:
    """With norms in evaluation, terms of two passes add up to those of one."""
    model, teacher, one = tiny_model().eval(), Teacher(known(), NAMES, CPU), batch()

    def terms(accumulate: int) -> dict[str, float]:
        learner = replace(Learner.of(model, settings(accumulate=accumulate), NAMES), teacher=teacher)
        sums: dict[str, float] = {}
        for losses, _, _ in pass_losses(learner, one, 0):
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item()
        return {name: value for name, value in sums.items() if name.startswith("kd")}

    assert terms(2) == pytest.approx(terms(1), rel=1e-4)


def test_by_the_settings(tmp_path: Path) -> None:
    assert load_teacher(settings(), NAMES, CPU) is None
    path = tmp_path / "teacher.safetensors"
    checkpoint.save(path, known())
    teacher = load_teacher(settings(distill__teacher=str(path)), NAMES, CPU)
    assert teacher is not None
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_teacher(settings(distill__teacher=str(tmp_path / "none.safetensors")), NAMES, CPU)
