"""`Detector`: the thin public face. What it does is one call into the room that knows how."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from edgewise import checkpoint, presets
from edgewise.bins import bin_values
from edgewise.config import ModelConfig, TrainConfig
from edgewise.device import local_rank, resolve_device
from edgewise.model import DFine
from edgewise.predict.network import NetworkPredictor
from edgewise.recipe import Start
from edgewise.runtime.base import BaseDetector, opened
from edgewise.runtime.detector import ExportedDetector
from edgewise.runtime.engines import check_trust, is_exported
from edgewise.sizes import Size, pair
from edgewise.spelling import unknown

if TYPE_CHECKING:
    from rich.console import Console

    from edgewise.artifact import Head, Precision, Sampler, Target
    from edgewise.calibration import Calibration
    from edgewise.data.custom import Transform
    from edgewise.data.dataset import Dataset
    from edgewise.data.open import Data, Splits
    from edgewise.evaluation.calibration.report import Honesty
    from edgewise.evaluation.coco import Metrics
    from edgewise.evaluation.layers import Profile
    from edgewise.evaluation.run import AnnotatedImages
    from edgewise.export import Proof
    from edgewise.optimize import EngineName, Fast, OptimizedDetector
    from edgewise.predict.predictor import Threshold
    from edgewise.predict.sources import ImageLike, Source
    from edgewise.predict.trace import Trace
    from edgewise.processes import Processes
    from edgewise.thresholds import Thresholds
    from edgewise.train.plan import AugmentName, Order, RecipeName
    from edgewise.train.state import TrainSet
    from edgewise.uses.audit import Audit
    from edgewise.uses.select import Selection


@dataclass(frozen=True)
class Run:
    """What a training left: its folder, and the validation metrics of the best averaged weights.

    `metrics` is None where the data has no validation split; then the last weights are the best.
    """

    folder: Path
    metrics: "Metrics | None"
    config: TrainConfig
    minutes: float


class Detector(BaseDetector):
    """A model with its class names: predicts, evaluates, trains, saves.

    `Detector("n", classes=["cat", "dog"])` has fresh weights of size n, s, m, l or x;
    `Detector.from_pretrained(ref)` loads trained ones. `model` is the network itself,
    images [B, 3, H, W] in [0, 1] → ModelOutput, in evaluation form; `thresholds` what the threshold "auto"
    stands for: the scores of best F1 that a checkpoint holds, or `Metrics.thresholds` of any evaluation;
    `calibration` what makes error bars and scores keep their word.
    """

    def __init__(
        self,
        model: str | ModelConfig = "n",
        classes: Sequence[str] = (),
        *,
        backbone: str | Path | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        """Fresh weights drawn from `seed`; `backbone` names a published PPHGNetV2 file to start from.

        Raises ValueError for an unknown size, no classes, two of one name, or more or fewer of them than
        a ModelConfig says.
        """
        if isinstance(model, str) and model not in presets.SIZES:
            raise ValueError(
                f"{unknown(model, list(presets.SIZES), 'size')}; trained weights are loaded by "
                f"Detector.from_pretrained({model!r})"
            )
        names = checkpoint.check_classes(classes)
        if isinstance(model, str):
            model = presets.preset(model, len(names))
            if backbone is None:
                model = presets.trainable(model)
        elif model.num_classes != len(names):
            raise ValueError(
                f"classes has {len(names)} names, but the settings have num_classes={model.num_classes}; "
                "expected as many"
            )
        network = _fresh(model, seed)
        if backbone is not None:
            checkpoint.load_backbone(backbone, network)
        self._adopt(network, names, None, device)
        self.trained: Start = "fresh" if backbone is None else "backbone"

    @classmethod
    def from_pretrained(
        cls,
        ref: str | Path,
        classes: Sequence[str] | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        trust: bool = False,
    ) -> "Detector":
        """A detector with trained weights.

        `ref` is a file of ours (.safetensors), of the D-FINE authors (.pth), a transformers folder, a
        hub name such as "dfine-s-coco" or "owner/name". `classes` names the rows of files that do not.
        Nothing in a file is executed, but for machine code with `trust`. At most `threads` of the CPU
        compute: of this process, for torch. Errors say what was found, what was expected and the way out.

        An exported file (.onnx, .xml) gives a `runtime.detector.ExportedDetector`: it predicts, evaluates and
        benches the same, and has nothing that needs weights. .engine (TensorRT) and .aot.pt2 (AOTInductor)
        hold machine code, which loading them runs with your rights: only with `trust`.
        """
        if is_exported(ref):
            exported = ExportedDetector.from_pretrained(
                ref, classes, device=device, threads=threads, trust=trust
            )
            return cast("Detector", exported)
        if str(ref).lower().endswith(".aot.pt2"):
            from edgewise.export.program import PackageEngine

            check_trust(ref, trust)
            engine = PackageEngine(ref, device=device, threads=threads)
            return cast("Detector", ExportedDetector(engine, classes))
        if threads is not None:
            torch.set_num_threads(threads)
        found = cls._of(checkpoint.load(ref, classes), device)
        found.ref = ref
        return found

    @classmethod
    def _of(cls, loaded: checkpoint.Checkpoint, device: str) -> "Detector":
        from edgewise.data.scenes import CLASS_NAMES

        self = cls.__new__(cls)
        self._adopt(checkpoint.build(loaded), loaded.class_names, loaded.category_ids, device)
        self.trained = "scenes" if loaded.class_names == CLASS_NAMES else "detector"
        self._origin, self.thresholds, self.calibration = loaded, loaded.thresholds, loaded.calibration
        return self

    def _adopt(
        self, model: DFine, names: tuple[str, ...], category_ids: tuple[int, ...] | None, device: str
    ) -> None:
        self.device = resolve_device(device)
        self.model = model.to(self.device).eval()
        self.class_names, self.category_ids = names, category_ids
        self._origin: checkpoint.Checkpoint | None = None
        self.ref = None
        self.thresholds: Thresholds | None = None
        self.calibration: Calibration | None = None

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def backend(self) -> str:
        return f"torch {torch.__version__.split('+')[0]} {self.device}"

    @property
    def precision(self) -> str:
        kinds = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}
        return kinds[next(self.model.parameters()).dtype]

    # ── predict ────────────────────────────────────────────────────────────────────────────────────

    def predictor(self, size: Size | None = None, model: DFine | None = None) -> NetworkPredictor:
        """The path from images to Detections that `predict` and `evaluate` share.

        `model` stands in for this detector's own, with the same classes: its moving average, say.
        """
        decoder = self.config.decoder
        return NetworkPredictor(
            model or self.model,
            size=self.config.size if size is None else pair(size),
            class_names=self.class_names,
            category_ids=self.category_ids,
            values=bin_values(decoder.num_bins, decoder.a, decoder.c),
            thresholds=self.thresholds,
            calibration=self.calibration,
        )

    def at(
        self, layers: int | None = None, queries: int | None = None, exit: float | None = None
    ) -> "Detector":
        """A faster detector of the same weights, to use and to save like any other; this one stays as it is.

        `layers` keeps the first decoder layers, `queries` the most promising candidates of an image; with
        `exit` an image is refined no further once a layer changes no sure edge's distribution by so many
        nats. `edgewise profile-layers` measures what each costs, and recommends one. Thresholds and
        calibration are of the last layer's scores and edges: without it they are gone.
        """
        other = copy.copy(self)
        other.model, other.ref = self.model.at(layers, queries, exit), None  # it is no longer its file
        if other._origin is not None:
            other._origin = replace(other._origin, metrics=None)  # those of the whole
        if other.config.decoder.num_layers < self.config.decoder.num_layers:
            other.thresholds = other.calibration = None
        return other

    def trace(self, image: "ImageLike", threshold: "Threshold" = 0.5, *, size: Size | None = None) -> "Trace":
        """How the decoder refined the boxes of one image: every layer's boxes, distributions and scores.

        `image` is one of what `predict` takes; objects whose last score is at least `threshold` are kept,
        best first. `trace(image).plot(box=0)` draws one.
        """
        from edgewise.predict.trace import trace

        return trace(self.predictor(size), image, threshold)

    def optimize(
        self,
        device: str = "cpu",
        *,
        engine: "EngineName | None" = None,
        precision: "Fast | None" = None,
        size: Size | None = None,
        threads: int | None = None,
        cache: str | Path | None = None,
        images: "Source | None" = None,
    ) -> "OptimizedDetector":
        """A detector that says the same, run by the fastest engine there is for a device, at one size.

        On "cpu": "openvino" where that is installed, else "torch" alone; in "bf16" where the processor
        multiplies it itself, else "fp32". `threads` compute, by default as many as there are cores for this
        process: for torch, of this process. What OpenVINO needs is written into the folder `cache`, by
        default ~/.cache/edgewise, so that the next time is quick.

        On "cuda", or "cuda:1": torch, compiled, as CUDA graphs; in "bf16" where the GPU multiplies it, else
        "fp16". Never run on a GPU yet (docs/runtime.md).

        What it chose and why is its `.choice`. It is compared with this detector on `images`, by default two
        painted scenes; one out of tolerance (docs/runtime.md) is passed over, and that too is said. Raises
        `optimize.Differs`, with the numbers, where engine and precision were named or none is left;
        MissingExtra for a named engine that is not installed; ValueError for a device that is not there, and
        for what it has not: "fp16" on a processor, say; MemoryError for a GPU that not one image fits into.
        """
        from edgewise.optimize import optimize

        return optimize(
            self,
            device,
            engine=engine,
            precision=precision,
            size=size,
            threads=threads,
            cache=cache,
            images=images,
        )

    # ── calibrate ──────────────────────────────────────────────────────────────────────────────────

    def calibrate(
        self,
        data: "Data | AnnotatedImages",
        split: str = "val",
        *,
        batch: int = 8,
        size: Size | None = None,
        out: str | Path | None = None,
        progress: bool = False,
    ) -> "Honesty":
        """Makes error bars and scores keep their word on data like this split; `save` keeps it.

        Returns how well they do on images that a fit has not seen, by cross-validation: `.table()`,
        `.numbers`; with `out`, tables and diagrams are written there. `thresholds` become those of the same
        detections on calibrated scores. The images must not have been trained on: those that were are warned
        of. ValueError where the split has other classes, or too few of its boxes are found.
        """
        from edgewise.evaluation.calibration.run import calibrate

        dataset, bare = opened(data, split), self.uncalibrated()
        predictor, enough = bare.predictor(size), bare.enough(dataset)
        self._warn_of_seen(dataset, split)
        calibration, honesty = calibrate(
            dataset,
            partial(predictor.predict_arrays, edges=True),
            enough,
            split=split,
            size=predictor.size,
            batch=batch,
            progress=progress,
        )
        self.calibration, self.thresholds = calibration, bare.thresholds
        if calibration.score is not None and self.thresholds is not None:
            self.thresholds = self.thresholds.mapped(calibration.score.apply)
        if out is not None:
            honesty.write(out)
        return honesty

    def _warn_of_seen(self, dataset: "AnnotatedImages", split: str) -> None:
        seen = self._origin.seen if self._origin else None
        paths = getattr(dataset, "paths", ())
        share = seen.share(paths) if seen is not None else 0.0
        if share > 0:
            warnings.warn(
                f"{share:.0%} of the {len(paths)} images of the {split} split were trained on: errors are "
                "smaller there than they will be, and so the error bars; calibrate on images held out",
                stacklevel=3,
            )

    # ── use ────────────────────────────────────────────────────────────────────────────────────────

    def audit(
        self,
        data: "Data | AnnotatedImages",
        split: str = "train",
        *,
        threshold: "Threshold | None" = None,
        batch: int = 8,
        size: Size | None = None,
        progress: bool = False,
    ) -> "Audit":
        """The annotations of a split, or of "all", in the light of the detector: the improbable ones first.

        `data` is what `train` takes, or a data set that is open already. From `threshold` on a detection is
        sure enough to doubt a whole box: by default "auto" where the checkpoint has thresholds, else 0.5.
        """
        from edgewise.evaluation.run import AnnotatedImages
        from edgewise.uses.audit import audit
        from edgewise.uses.joined import open_joined

        dataset = data if isinstance(data, AnnotatedImages) else open_joined(data, split)
        predictor = self.predictor(size)
        if threshold is None:
            threshold = 0.5 if self.thresholds is None else "auto"
        sure = predictor.least(threshold)
        return audit(dataset, predictor.predict_arrays, sure, batch=batch, progress=progress)

    def select(
        self,
        source: "Source",
        k: int,
        known: "Source" = (),
        *,
        batch: int = 8,
        size: Size | None = None,
        progress: bool = False,
    ) -> "Selection":
        """The `k` images most worth annotating: the detector is unsure of them, and no two are alike.

        `source` is what `predict` takes; images like those in `known`, annotated already, are worth less.
        """
        from edgewise.uses.select import select

        return select(self.predictor(size), source, k, known, batch=batch, progress=progress)

    # ── anytime ────────────────────────────────────────────────────────────────────────────────────

    def profile_layers(
        self,
        data: "Data | AnnotatedImages",
        split: str = "val",
        *,
        queries: Sequence[int] | None = None,
        size: Size | None = None,
        batch: int = 8,
        repeats: int = 20,
        out: str | Path | None = None,
        progress: bool = False,
    ) -> "Profile":
        """What each decoder layer is worth on an annotated split, and whether stopping earlier pays.

        Quality after every layer for several numbers of `queries`, time (medians of `repeats` turns), and
        dynamic exits; `.verdicts` says what is recommended. With `out`, layers.json, layers.md and layers.png
        are written there.
        """
        from edgewise.evaluation.layers import profile
        from edgewise.evaluation.layers_report import write_profile
        from edgewise.predict.layers import LayerPredictor

        dataset = opened(data, split)
        predictor = self.predictor(size)
        steps = LayerPredictor(predictor, self.model, queries)
        found = profile(
            dataset,
            steps,
            steps.times(dataset[0].image, repeats),
            self.enough(dataset),
            calibration=self.calibration,
            batch=batch,
            progress=progress,
            facts={
                "model": self.config.name,
                "size": "x".join(map(str, predictor.size)),
                "data": Path(data).name if isinstance(data, str | Path) else type(data).__name__,
                "split": split,
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "repeats": repeats,
            },
        )
        if out is not None:
            write_profile(found, out)
        return found

    # ── train ──────────────────────────────────────────────────────────────────────────────────────

    def train(
        self,
        data: "Data | Splits",
        *,
        out: str | Path = "runs/train",
        epochs: int | None = None,
        size: Size | None = None,
        batch: int | Literal["auto"] | None = None,
        lr: float | Literal["find"] | None = None,
        seed: int | None = None,
        recipe: "RecipeName" = "auto",
        augment: "AugmentName" = "auto",
        transform: "Transform | None" = None,
        settings: TrainConfig | str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        selfcheck: bool = True,
        resume: bool = False,
        devices: int = 1,
        console: "Console | None" = None,
    ) -> Run:
        """Trains on an annotated data set; afterwards this detector has the best averaged weights.

        `data` is a folder or file in any known format, a list of records (docs/data.md), or data sets that
        are open already, {"train": …, "val": …}. The classes become those of the data: those of a name this
        detector knows keep their weights, the others start fresh. Settings follow from the data
        (`recipe.recommend`), and the reasons are printed; `recipe="deim"` adds DEIM's; `settings` (a
        TrainConfig or its YAML file) stands in for them. The named arguments and `changes`,
        {"augment.flip": 0.3}, have the last word. `size` is (height, width), or bounds the longer side of an
        input that has the shape of the images. `batch="auto"` is the largest that suits data and memory,
        `lr="find"` tests a range of rates first, `augment="none"` leaves images as they are, and
        `transform(image, boxes_xyxy, labels)` is your own augmentation, before all others.

        Checks of data and model come first unless `selfcheck` is off; a failure stops with its reason. What
        lands in `out` says `train.trainer.Trainer`. A stopped run goes on with `resume=True`, with the
        settings it began with. It runs on this detector's device, unless that is the best there is and
        settings say otherwise; with `devices`, in so many processes on this machine, a GPU each. Where
        torchrun has started several, they train together.
        """
        from rich.console import Console

        from edgewise.train.plan import Order, Wishes

        wishes = Wishes(
            epochs=epochs,
            size=size,
            batch=batch,
            lr=lr,
            seed=seed,
            device=None if self.device == resolve_device("auto") else str(self.device),
            recipe=recipe,
            augment=augment,
            settings=settings,
            changes=changes,
        )
        order = Order(data, Path(out), wishes, transform, selfcheck, resume)
        if devices > 1 or local_rank() is not None:
            order.check_several()
        if devices > 1:
            return self._train_apart(devices, order)
        return self._train_here(order, console or Console(stderr=True))

    def _train_here(self, order: "Order", console: "Console") -> Run:
        """`train` in this process, alone or as one of several that torchrun has started."""
        from rich.console import Console

        from edgewise.train.distributed import joined, main_process, restarted
        from edgewise.train.memory import explained
        from edgewise.train.plan import open_data, plan
        from edgewise.train.selfcheck import run_selfchecks
        from edgewise.train.state import NAME, check_free

        console = console if main_process() else Console(quiet=True)
        resume = order.resume
        if restarted() and (order.folder / NAME).exists():
            console.print("a process died; all go on from the last checkpoint")
            resume = True
        if not resume:
            check_free(order.folder)
        train_set, val_set = open_data(order.data, console)
        fit = partial(
            self.fit, train_set, val_set, out=order.folder, transform=order.transform, console=console
        )
        if resume:
            config, _ = plan(train_set, self.config, self.trained, order.wishes, order.folder)
            return fit(config=config, resume=True)
        model, config = self._start(order, train_set, console)
        with joined() as processes:
            if order.selfcheck:
                with explained(config):
                    run_selfchecks(
                        model,
                        train_set,
                        val_set,
                        config,
                        order.folder,
                        console,
                        transform=order.transform,
                        processes=processes,
                    )
            return fit(config=config, model=model)

    def _start(self, order: "Order", train_set: "Dataset", console: "Console") -> tuple[DFine, TrainConfig]:
        """What a run begins with: the model, and settings with their reasons printed."""
        from edgewise.train.distill import check_teacher
        from edgewise.train.loggers import check_installed
        from edgewise.train.lr_range import draw_range, find_rate
        from edgewise.train.memory import auto_batch
        from edgewise.train.plan import plan

        say = partial(console.print, markup=False, highlight=False)
        wishes = order.wishes
        config, reasons = plan(train_set, self._config_for(train_set.class_names), self.trained, wishes)
        check_installed(config)
        check_teacher(config, train_set.class_names)
        model = self._with_classes(train_set.class_names, config.seed, console)
        if wishes.batch == "auto":
            device = resolve_device(config.device)
            wishes = replace(wishes, batch=auto_batch(model, train_set, config, device, console))
            config, reasons = plan(train_set, self._config_for(train_set.class_names), self.trained, wishes)
        for reason in reasons:
            say(reason)
        if wishes.lr == "find":
            device = resolve_device(config.device)
            found = find_rate(model, train_set, config, device, order.transform, console)
            picture = order.folder / "lr_range.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            draw_range(found, picture)
            say(f"{found}; drawn in {picture}")
            config = config.updated(found.changes)
        return model, config

    def fit(
        self,
        train_set: "TrainSet",
        val_set: "AnnotatedImages | None",
        config: TrainConfig,
        out: str | Path,
        *,
        model: DFine | None = None,
        transform: "Transform | None" = None,
        resume: bool = False,
        console: "Console | None" = None,
    ) -> Run:
        """`train` on data sets that are open already, with settings that are complete.

        It begins with `model`, whose classes are those of `train_set`: by default this detector's, with the
        rows of the classes that it knows.
        """
        from rich.console import Console

        from edgewise.evaluation.run import categories_of
        from edgewise.train.distributed import joined
        from edgewise.train.memory import explained
        from edgewise.train.progress import run
        from edgewise.train.state import read_state
        from edgewise.train.trainer import Trainer

        console, folder, names = console or Console(stderr=True), Path(out), train_set.class_names
        if val_set is not None:
            categories_of(names, val_set)  # other classes fail now, not after an epoch
        if resume:
            model = _fresh(ModelConfig.model_validate(read_state(folder)["model_config"]), config.seed)
        elif model is None:
            model = self._with_classes(names, config.seed, console)
        with joined() as processes, explained(config):
            validate = None if val_set is None else partial(self._validate, val_set, config, processes)
            trainer = Trainer(
                model,
                train_set,
                config,
                folder,
                validate=validate,
                resume=resume,
                processes=processes,
                transform=transform,
            )
            self._adopt(model, names, train_set.category_ids, str(trainer.device))
            try:
                run(trainer, console)
            finally:
                model.eval()
            processes.wait()  # for the files
            self._take(folder, str(trainer.device))
            metrics = validate(self.model) if validate else None
        return Run(folder, metrics, config, trainer.minutes)

    def _take(self, folder: Path, device: str) -> None:
        """Becomes the best detector of a run."""
        best = checkpoint.load(folder / "best.safetensors")
        self._adopt(checkpoint.build(best), best.class_names, best.category_ids, device)
        self.trained, self._origin, self.thresholds = "detector", best, best.thresholds

    def _train_apart(self, devices: int, order: "Order") -> Run:
        """`train` in processes of its own, which start from this detector's weights."""
        from edgewise.train.distributed import launch

        auto = self.device == resolve_device("auto")
        if not auto and self.device.index is not None:
            raise ValueError(
                f"device {self.device} for {devices} processes; give auto or cuda, and each takes its own GPU"
            )
        with TemporaryDirectory() as folder:
            start = Path(folder) / "start.safetensors"
            self.save(start)
            device = "auto" if auto else str(self.device)
            run = launch(devices, _train_from, start, self.trained, device, order)
        self._take(run.folder, str(self.device))
        return run

    def _validate(
        self, dataset: "AnnotatedImages", config: TrainConfig, processes: "Processes", model: DFine
    ) -> "Metrics":
        from edgewise.evaluation.run import evaluate

        predictor = self.predictor(config.size, model)
        return evaluate(dataset, predictor.predict_arrays, batch=config.batch, processes=processes).metrics

    def _config_for(self, names: tuple[str, ...]) -> ModelConfig:
        """Its settings with these classes; photographs are larger than scenes, and hold more."""
        changes: dict[str, Any] = {"num_classes": len(names)}
        if self.trained == "scenes" and names != self.class_names:
            whole = presets.preset("n", len(names))
            changes |= {"size": whole.size, "decoder.num_queries": whole.decoder.num_queries}
        return self.config.updated(changes)

    def _with_classes(self, names: tuple[str, ...], seed: int, console: "Console | None" = None) -> DFine:
        """The model for these classes: this very one, or another with the weights of those it knows."""
        from edgewise.train.transfer import transfer

        if names == self.class_names:
            return self.model
        model = _fresh(self._config_for(names), seed)
        kept = transfer(self.model, model, self.class_names, names)
        if self.trained in ("scenes", "detector") and console is not None:
            fresh = [name for name in names if name not in kept]
            text = f"classes known already, whose rows are kept: {', '.join(kept) or 'none'}"
            text += f"; new, with fresh rows: {', '.join(fresh)}" if fresh else ""
            console.print(text, markup=False, highlight=False)
        return model

    # ── save ───────────────────────────────────────────────────────────────────────────────────────

    def checkpoint(self) -> checkpoint.Checkpoint:
        """Everything about this detector as one value: what `save` writes."""
        return checkpoint.Checkpoint(
            config=self.config,
            weights=self.model.state_dict(),
            class_names=self.class_names,
            category_ids=self.category_ids,
            step=self._origin.step if self._origin else None,
            recipe=self._origin.recipe if self._origin else None,
            metrics=self._origin.metrics if self._origin else None,
            thresholds=self.thresholds,
            calibration=self.calibration,
            seen=self._origin.seen if self._origin else None,
        )

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Writes the whole detector as one safetensors file; `half` stores the weights in float16."""
        checkpoint.save(path, self.checkpoint(), torch.float16 if half else None)

    def save_pretrained(self, folder: str | Path, format: Literal["transformers"] = "transformers") -> None:
        """Writes a folder that `transformers.DFineForObjectDetection.from_pretrained` loads."""
        checkpoint.save_transformers(self.checkpoint(), folder)

    # ── export ─────────────────────────────────────────────────────────────────────────────────────

    def export(
        self,
        target: "Target",
        path: str | Path,
        *,
        precision: "Precision" = "fp32",
        head: "Head" = "detections",
        sampler: "Sampler" = "gather",
        size: Size | None = None,
        dynamic_size: bool = False,
        resize_inside: bool = False,
        max_detections: int = 300,
        opset: int = 18,
        images: "Source | None" = None,
        data: "Data | AnnotatedImages | None" = None,
        split: str = "val",
        progress: bool = False,
    ) -> "Proof":
        """Writes this detector for another runtime, and the proof that it answers the same there.

        target "onnx" is for ONNX Runtime and others, "openvino" is IR, "torch" a program of torch.export,
        "aot" that compiled for this computer's processor by AOTInductor, "tensorrt" an engine for this
        computer's GPU.
        precision "fp16" stores weights in half precision ("openvino"), or computes backbone and encoder in it
        ("tensorrt"); "int8" computes backbone and encoder in it, of "onnx" and "openvino": its ranges are
        those of the training images of `data`, and AP on `split` decides.
        head "detections" gives finished ones, "raw" what `edgewise.decode` finishes; sampler "gather" has no
        GridSample, which some runtimes get wrong, "native" has. `dynamic_size` takes any multiple of 32,
        `resize_inside` uint8 images of any size. docs/export.md says what goes in and comes out.

        The file is compared with this detector, both on the CPU but for "tensorrt", on `images`, else some of
        `data`, else painted scenes; on `data` its AP and latency are measured too. Raises `export.Rejected`,
        and leaves no file of that name, where it differs.
        """
        from edgewise.export import export
        from edgewise.export.describe import describe, pictures
        from edgewise.export.int8 import typical

        artifact = describe(
            self.checkpoint(),
            target=target,
            precision=precision,
            head=head,
            sampler=sampler,
            size=None if size is None else pair(size),
            dynamic_size=dynamic_size,
            resize_inside=resize_inside,
            max_detections=max_detections,
            opset=opset,
        )
        chosen = typical(data, split) if artifact.precision == "int8" else ()
        dataset = None if data is None else opened(data, split)
        host = copy.copy(self)
        host.model = copy.deepcopy(self.model).cpu()  # a GPU may round convolutions to ten bits
        return export(
            host.model,
            artifact,
            path,
            pictures(images, dataset, artifact.size),
            host.predictor,
            dataset=dataset,
            typical=chosen,
            progress=progress,
        )

    def __repr__(self) -> str:
        height, width = self.config.size
        return f"Detector({self.config.name!r}, {len(self.class_names)} classes, {height}x{width})"


def _train_from(start: Path, trained: Start, device: str, order: "Order") -> Run:
    """One of several processes of a training."""
    from rich.console import Console

    detector = Detector.from_pretrained(start, device=device)
    detector.trained = trained
    return detector._train_here(order, Console(stderr=True))


def _fresh(config: ModelConfig, seed: int) -> DFine:
    """A model with weights drawn from `seed`; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return DFine(config)
