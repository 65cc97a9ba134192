from dataclasses import replace

import pytest
import torch

from edgewise.checkpoint import Checkpoint, build, check_classes
from edgewise.checkpoint.contents import check_fit
from edgewise.model import DFine


def test_only_what_the_settings_do_not_say_is_kept(saved: Checkpoint, model: DFine):
    left_out = model.state_dict().keys() - saved.weights.keys()
    assert {key.rpartition(".")[2] for key in left_out} == {
        "anchors", "valid_mask", "up", "reg_scale", "num_points_scale",
    }  # fmt: skip


def test_weights_are_float32_whatever_they_were(saved: Checkpoint):
    halves = {key: tensor.double() for key, tensor in saved.weights.items()}
    assert {tensor.dtype for tensor in replace(saved, weights=halves).weights.values()} == {torch.float32}


def test_build_gives_the_model_in_evaluation_mode(saved: Checkpoint, model: DFine):
    state = torch.get_rng_state()
    built = build(saved)
    assert not built.training
    assert built.config == saved.config
    assert torch.equal(torch.get_rng_state(), state)
    state_dict = built.state_dict()
    for key, tensor in saved.weights.items():
        assert torch.equal(state_dict[key], tensor), key


def test_a_mismatch_lists_the_first_of_each_kind(saved: Checkpoint):
    weights = dict(saved.weights)
    for i in range(3):
        del weights[f"decoder.dec_score_head.{i}.weight"], weights[f"decoder.dec_score_head.{i}.bias"]
    weights["head.weight"] = torch.zeros(2, 5)
    weights["decoder.enc_score_head.bias"] = torch.zeros(4)
    with pytest.raises(ValueError) as caught:
        build(replace(saved, weights=weights))
    text = str(caught.value)
    assert "6 missing: decoder.dec_score_head.0.weight [3, 128], decoder.dec_score_head.0.bias [3]" in text
    assert "and 3 more" in text
    assert "1 unexpected: head.weight [2, 5]" in text
    assert "1 of another shape: decoder.enc_score_head.bias [4] where [3] is expected" in text
    assert "load it with the settings it was trained with" in text


def test_counters_of_norms_may_be_missing_or_too_many(saved: Checkpoint):
    counters = {key for key in saved.weights if key.endswith("num_batches_tracked")}
    assert counters
    without = {key: tensor for key, tensor in saved.weights.items() if key not in counters}
    check_fit(saved.weights, without)
    check_fit(without, saved.weights)
    assert build(replace(saved, weights=without)).state_dict().keys() >= counters


def test_frozen_norms_take_weights_of_trained_ones_and_the_other_way_round(saved: Checkpoint):
    frozen = saved.config.updated({"backbone.freeze_norms": True, "backbone.freeze_stem": True})
    weights = build(replace(saved, config=frozen)).state_dict()
    back = build(replace(saved, weights=weights)).state_dict()
    key = "backbone.stem.stem1.bn.running_mean"
    assert torch.equal(back[key], saved.weights[key])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"class_names": ("cat", "dog")}, "classes has 2 names, but the weights have 3 rows; give one name"),
        ({"class_names": ("cat", "dog", "cat")}, "class name 'cat' stands twice, in rows 0 and 2"),
        ({"category_ids": (1, 2)}, r"category_ids \(1, 2\) are not 3 different numbers"),
        ({"category_ids": (1, 2, 2)}, r"category_ids \(1, 2, 2\) are not 3 different numbers"),
    ],
)
def test_rows_have_one_name_and_one_id(saved: Checkpoint, changes: dict[str, tuple[object, ...]], text: str):
    with pytest.raises(ValueError, match=text):
        replace(saved, **changes)  # type: ignore[arg-type]


def test_check_classes():
    assert check_classes(["cat", "dog"]) == ("cat", "dog")
    with pytest.raises(ValueError, match=r"classes is the text 'ab'; expected a list: classes=\['ab'\]"):
        check_classes("ab")
    with pytest.raises(ValueError, match="classes is empty; name at least one"):
        check_classes([])
