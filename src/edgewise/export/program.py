"""torch.export: the graph as a program of torch, without our code, and what its parts say.

torch loads a program by evaluating and unpickling what is in it, so whoever wrote the file can run code. What
is here loads files that were just written; there is no other way in Edgewise to load one.
"""

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


class Outputs(nn.Module):
    """A graph without what its parts say on the way."""

    def __init__(self, graph: Graph, artifact: Artifact) -> None:
        super().__init__()
        # no "graph", which is a name in the program's own module
        self.whole, self.names = graph, artifact.outputs

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        found = self.whole(*inputs)
        return {name: found[name] for name in self.names}


def write(model: DFine, artifact: Artifact, path: Path) -> None:
    """Writes the model as the artifact that is described; inputs by place, outputs by name."""
    graph = Outputs(Graph(inference_form(model, artifact), artifact), artifact).eval()
    inputs, shapes = example(artifact)
    with torch.no_grad():
        program = torch.export.export(graph, inputs, dynamic_shapes=(shapes,))
    torch.export.save(program, path, extra_files={KEY: artifact.to_json()})


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
