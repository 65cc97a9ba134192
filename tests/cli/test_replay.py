"""`edgewise replay` on a step that a run skipped."""

import math
from pathlib import Path

import torch

from tests.cli.conftest import Edgewise
from tests.train.tiny import settings, trainer


def test_a_skipped_step_is_repeated_and_explained(edgewise: Edgewise, tmp_path: Path) -> None:
    run = trainer(tmp_path, settings())
    with torch.no_grad():
        run.model.decoder.enc_score_head.bias[1] = math.nan
    file = next(run.steps()).file
    code, text = edgewise("replay", file)
    assert code == 0
    assert "step 0, images: patches/" in text
    assert "weights: decoder.enc_score_head.bias" in text
    assert "first module whose output is not finite: decoder.enc_score_head (Linear)" in text
    assert text.endswith("the same numbers as in the run")


def test_another_file_is_refused(edgewise: Edgewise, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_text("nothing")
    assert edgewise("replay", tmp_path / "a.pt")[0] == 1
    code, text = edgewise("replay", tmp_path / "b.pt")
    assert code == 1
    assert "b.pt: no such file; a run writes bad_steps/step_N.pt for a step it skips" in text
