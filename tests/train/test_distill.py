"""A teacher: classes matched by name, unchanged by teaching, none where none is named."""

from pathlib import Path

import pytest
import torch

from edgewise import checkpoint
from edgewise.boxes import cxcywh_to_xyxy
from edgewise.checkpoint import Checkpoint
from edgewise.data.collate import collate
from edgewise.distributions import bin_values, refined_boxes
from edgewise.losses import Normalizers, match
from edgewise.structures import Batch
from edgewise.train.distill import Teacher, load_teacher
from tests.train.tiny import NAMES, Patches, settings, tiny_config, tiny_model

CPU = torch.device("cpu")


def known(names: tuple[str, ...] = NAMES) -> Checkpoint:
    config = tiny_config(len(names))
    return Checkpoint(config, tiny_model(1, config).state_dict(), names)


def batch() -> Batch:
    return collate([Patches()[i] for i in range(3)], (64, 64))


def test_classes_are_matched_by_name() -> None:
    """A teacher of more classes in another order says the same as one of just these."""
    config = settings().loss.matching
    more = known(("white", "blue", "red", "green"))
    taught = Teacher(more, NAMES, CPU).lesson(batch().images, batch().targets, config)
    rows = [more.class_names.index(name) for name in NAMES]
    weights = {
        key: value[rows] if value.shape[:1] == (4,) and "score_head" in key else value
        for key, value in more.weights.items()
    }
    weights["decoder.denoising_class_embed.weight"] = torch.zeros(4, 32)  # trains only
    alone = Teacher(Checkpoint(tiny_config(), weights, NAMES), NAMES, CPU)
    same = alone.lesson(batch().images, batch().targets, config)
    assert taught.scores.shape == (len(batch().targets.labels), 3)
    torch.testing.assert_close(taught.scores, same.scores)
    torch.testing.assert_close(taught.probs, same.probs)


def test_a_teacher_that_lacks_a_class() -> None:
    with pytest.raises(ValueError, match=r"^old\.safetensors does not know 'green', 'blue'; it knows 'red'"):
        Teacher(known(("red",)), NAMES, CPU, "old.safetensors")


def test_what_it_says_are_its_own_boxes() -> None:
    """Mean edges of the lesson are edges of boxes that it predicts."""
    teacher, one = Teacher(known(), NAMES, CPU), batch()
    taught = teacher.lesson(one.images, one.targets, settings().loss.matching)
    mean = cxcywh_to_xyxy(refined_boxes(taught.initial, (taught.probs * taught.values).sum(-1)))
    with torch.no_grad():
        boxes = cxcywh_to_xyxy(teacher.model(one.images).boxes)[one.targets.image]  # [N, Q, 4]
    nearest = (boxes - mean[:, None]).abs().sum(-1).amin(1)
    assert nearest.max() < 1e-5


def test_it_teaches_and_stays_as_it_is() -> None:
    teacher, student, one, config = Teacher(known(), NAMES, CPU), tiny_model().train(), batch(), settings()
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    output = student(one.images)
    matching = match(output, one.targets, config.loss.matching)
    counts = Normalizers.of(output, one.targets, matching)
    values = bin_values(student.config.decoder.num_bins)
    losses = teacher.losses(one.images, one.targets, output, matching, values, config, counts)
    assert set(losses) == {"kd_edges/0", "kd_edges/1", "kd_scores/0", "kd_scores/1"}
    torch.stack(list(losses.values())).sum().backward()
    assert any(one.grad is not None and one.grad.any() for one in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())


def test_by_the_settings(tmp_path: Path) -> None:
    assert load_teacher(settings(), NAMES, CPU) is None
    path = tmp_path / "teacher.safetensors"
    checkpoint.save(path, known())
    teacher = load_teacher(settings(distill__teacher=str(path)), NAMES, CPU)
    assert teacher is not None
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_teacher(settings(distill__teacher=str(tmp_path / "none.safetensors")), NAMES, CPU)
