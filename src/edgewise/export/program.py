"""torch.export: the graph as a program of torch, without our code, and what its parts say; and compiled.

torch loads a program by evaluating and unpickling what is in it, so whoever wrote the file can run code. What
is here loads files that were just written, and compiled ones of people that the user says to trust.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node

from edgewise.artifact import KEY, Artifact, read_artifact
from edgewise.export.graph import Graph, inference_form
from edgewise.export.onnx import example
from edgewise.model import DFine
from edgewise.runtime.engines import Arrays, Engine

PACKAGE = ".aot.pt2"


class Outputs(nn.Module):
    """A graph without what its parts say on the way."""

    def __init__(self, graph: Graph, artifact: Artifact) -> None:
        super().__init__()
        # no "graph", which is a name in the program's own module
        self.whole, self.names = graph, artifact.outputs

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        found = self.whole(*inputs)
        return {name: found[name] for name in self.names}


def traced(model: DFine, artifact: Artifact) -> torch.export.ExportedProgram:
    """The model as the artifact that is described; inputs by place, outputs by name."""
    graph = Outputs(Graph(inference_form(model, artifact), artifact), artifact).eval()
    inputs, shapes = example(artifact)
    with torch.no_grad():
        return torch.export.export(graph, inputs, dynamic_shapes=(shapes,))


def write(model: DFine, artifact: Artifact, path: Path) -> None:
    """Writes the program."""
    torch.export.save(traced(model, artifact), path, extra_files={KEY: artifact.to_json()})


def write_compiled(model: DFine, artifact: Artifact, path: Path) -> None:
    """Writes the program compiled by AOTInductor, for processors like this one, of any number of threads.

    ValueError without a C++ compiler.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ValueError(
            "target 'aot' needs a C++ compiler, and torch finds none; install g++ or name one in the "
            "variable CXX, or export to torch, which needs none"
        ) from None
    settings = {"aot_inductor.metadata": {KEY: artifact.to_json()}, "cpp.dynamic_threads": True}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own workings
        torch._inductor.aoti_compile_and_package(
            traced(model, artifact), package_path=str(path), inductor_configs=settings
        )


class ProgramEngine(Engine):
    """A program, run by torch on the CPU. Only for files that are ours: loading one runs what is in it."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        texts = {KEY: ""}
        program = torch.export.load(path, extra_files=texts)
        self.artifact = read_artifact(texts[KEY] or None, str(path))
        self.module = program.module()
        self.name, self.device = f"torch {torch.__version__}", "cpu"

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: one.numpy() for name, one in self.module(*self.tensors(inputs)).items()}

    def tensors(self, inputs: Arrays) -> list[Tensor]:
        """In the order of the program's inputs."""
        return [torch.from_numpy(np.array(inputs[name])) for name in self.artifact.inputs]


class PackageEngine(Engine):
    """A package of AOTInductor, run by torch on the CPU. Only for files that are trusted: they are code."""

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int | None = None) -> None:
        """`device` is "cpu", "auto" too. At most `threads` compute, of this whole process.

        Raises what `runtime.engines.OnnxEngine` raises.
        """
        super().__init__(path)
        if device not in ("auto", "cpu"):
            raise ValueError(f"device {device!r}: {path} was compiled for the CPU; leave it out, or say cpu")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            self.model = torch._inductor.aoti_load_package(str(path))
        except Exception as error:  # RuntimeError and others, as torch comes across it
            first = str(error).strip().split("\n")[0]
            raise ValueError(f"{path}: torch cannot load it: {first}") from None
        self.artifact = read_artifact(self.model.get_metadata().get(KEY), str(path))
        self.name, self.device = f"torch {torch.__version__} AOTInductor", "cpu"

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        given = [torch.from_numpy(np.array(inputs[name])) for name in self.artifact.inputs]
        with torch.no_grad():
            found = self.model(*given)
        return {name: found[name].numpy() for name in self.artifact.outputs}


def steps(path: Path, names: list[str], inputs: Arrays) -> dict[str, np.ndarray]:
    """What the modules of these names give inside a program when it runs; others are left out."""
    engine = ProgramEngine(path)
    assert isinstance(engine.module, torch.fx.GraphModule)
    wanted = {f"whole.model.{name}": name for name in names}
    last: dict[str, Node] = {}
    for node in engine.module.graph.nodes:
        for place, _ in node.meta.get("nn_module_stack", {}).values():
            if place in wanted:
                last[wanted[place]] = node
    names_of = {node: name for name, node in last.items()}
    seen: dict[str, np.ndarray] = {}

    class Watch(Interpreter):
        def run_node(self, n: Node) -> Any:
            found = super().run_node(n)
            if n in names_of and isinstance(found, Tensor):
                seen[names_of[n]] = found.numpy()
            return found

    with torch.no_grad():
        outputs = Watch(engine.module).run(*engine.tensors(inputs))
    return seen | {name: one.numpy() for name, one in outputs.items()}
