"""Any image encoder in an ONNX file, run by onnxruntime."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backbones._options import IMAGE_OPTIONS, beside, blank, preprocess, read_options, shown
from bench.errors import CheckpointError, WeightsUnavailable
from bench.interfaces import Backbone, Descriptors, Model, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

OPTIONS = (*IMAGE_OPTIONS, "layout", "output")
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}
_CHANNEL = {"NCHW": 1, "NHWC": 3}
#: No file lies there, so that weights outside the file, which its hash does not cover, are refused.
_NOWHERE = {"session.model_external_initializers_file_folder_path": os.devnull}


@dataclass(frozen=True)
class Graph:
    """The input of an ONNX graph and the output that is its descriptor. side, batch: None where any will do."""

    file: Path
    input: str
    output: str
    dtype: type[np.generic]
    layout: str
    side: int | None
    batch: int | None


@dataclass(frozen=True)
class OnnxBackbone(Backbone):
    """An ONNX file, with what is said of it in options."""

    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def configured(self, options: Mapping[str, str]) -> Backbone:
        read = read_options(options, OPTIONS, self.name)
        name = shown(self.name, {key: options[key] for key in read})
        return replace(self, name=name, options={**self.options, **read})

    def settled(self, weights_file: Path | None) -> Backbone:
        if weights_file is None:
            raise CheckpointError(f"{self.name} has no architecture without its file: leave out --weights random")
        session = _session(weights_file, "cpu")
        graph = _graph(session, weights_file, self.options)
        prepared = preprocess(self.options, graph.side, graph.dtype is np.uint8, weights_file)
        dimension = OnnxModel(session, graph).describe(blank(prepared)).global_.shape[1]
        arch = f"ONNX graph, {graph.layout} to {graph.output}"
        return replace(self, arch=arch, embed_dim=dimension, preprocess=prepared)

    def load(self, device: str, weights_file: Path | None) -> Model:
        assert weights_file is not None  # settled refuses random weights
        session = _session(weights_file, device)
        return OnnxModel(session, _graph(session, weights_file, self.options))


class OnnxModel:
    """A session and how images are brought to it. Parameters are not counted: an ONNX graph does not tell them."""

    n_parameters = None

    def __init__(self, session: Any, graph: Graph) -> None:
        self._session = session
        self._graph = graph

    def describe(self, batch: "Tensor") -> Descriptors:
        """Raises CheckpointError where the graph does not take images of this size, or gives no vectors."""
        import torch

        graph = self._graph
        if graph.side is not None and batch.shape[2:] != (graph.side, graph.side):
            raise CheckpointError(
                f"{graph.file} reads {graph.side} x {graph.side} pixels, the run makes "
                f"{' x '.join(map(str, batch.shape[2:]))}: leave out --preprocess"
            )
        images = batch.cpu().numpy().astype(graph.dtype)
        vectors = [self._run(piece)[:count] for piece, count in _pieces(images, graph.batch)]
        return Descriptors(torch.from_numpy(np.concatenate(vectors).astype(np.float32)))

    def _run(self, images: NDArray[Any]) -> NDArray[Any]:
        graph = self._graph
        fed = images.transpose(0, 2, 3, 1) if graph.layout == "NHWC" else images
        try:
            found: NDArray[Any] = self._session.run([graph.output], {graph.input: np.ascontiguousarray(fed)})[0]
        except Exception as error:  # onnxruntime's errors have no other base
            raise CheckpointError(f"{graph.file} does not run on {list(fed.shape)} ({_first_line(error)})") from error
        if found.ndim == 4 and found.shape[2:] == (1, 1):
            found = found[:, :, 0, 0]
        if found.ndim != 2 or len(found) != len(images):
            raise CheckpointError(
                f"the output '{graph.output}' of {graph.file} has the shape {list(found.shape)} for {len(images)} "
                "images, not [images, D]: pool it in the graph, or choose another with the option output=NAME"
            )
        return found


def _pieces(images: NDArray[Any], size: int | None) -> Iterator[tuple[NDArray[Any], int]]:
    """Pieces of `size` images and how many are in each: the last is filled up with black ones."""
    for first in range(0, len(images), size or len(images)):
        piece = images[first : first + size] if size else images
        missing = (size or len(images)) - len(piece)
        yield np.pad(piece, ((0, missing), (0, 0), (0, 0), (0, 0))), len(piece)


def _session(path: Path, device: str) -> Any:
    """An onnxruntime session. Raises CheckpointError for what it can't run, WeightsUnavailable without the package."""
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsUnavailable(f"{path} needs onnxruntime: pip install onnxruntime, or the extra 'onnx'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions too
    for name, value in _NOWHERE.items():
        options.add_session_config_entry(name, value)
    try:
        return onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime, device))
    except Exception as error:  # onnxruntime's errors have no other base
        reason = _first_line(error)
        if "External data" in reason:
            raise CheckpointError(
                f"{path} keeps weights in another file: save it as one file, "
                "as torch.onnx.export(..., external_data=False) does"
            ) from error
        raise CheckpointError(f"{path} is not an ONNX file that can be run here ({reason}): export it again") from error


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def _graph(session: Any, file: Path, options: Mapping[str, Any]) -> Graph:
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs)
        raise CheckpointError(f"{file} has {len(inputs)} inputs ({names}), not one of images: export the encoder alone")
    entry = inputs[0]
    if entry.type not in _TYPES or len(entry.shape) != 4:
        raise CheckpointError(
            f"the input '{entry.name}' of {file} is {entry.type} {entry.shape}, not a batch of images: "
            f"it should be {', '.join(_TYPES)} with four dimensions"
        )
    layout = _layout(entry.shape, file, options)
    height, width = entry.shape[2:] if layout == "NCHW" else entry.shape[1:3]
    fixed = {side for side in (height, width) if isinstance(side, int)}
    if len(fixed) > 1:
        raise CheckpointError(f"{file} reads images of {height} x {width} pixels: only squares can be made")
    batch = entry.shape[0] if isinstance(entry.shape[0], int) else None
    output = _output(outputs, file, options)
    return Graph(file, entry.name, output, _TYPES[entry.type], layout, fixed.pop() if fixed else None, batch)


def _layout(shape: list[Any], file: Path, options: Mapping[str, Any]) -> str:
    """Where the channels are: by the option, else by the one dimension that is 3."""
    told: str | None = options.get("layout")
    if told and (shape[_CHANNEL[told]] == 3 or not isinstance(shape[_CHANNEL[told]], int)):
        return told
    fits = [layout for layout, axis in _CHANNEL.items() if shape[axis] == 3]
    if told or len(fits) != 1:
        raise CheckpointError(
            f"the input {shape} of {file} {'is not ' + told if told else 'does not tell its layout'}: "
            "give the option layout=NCHW or layout=NHWC"
        )
    return fits[0]


def _output(names: list[str], file: Path, options: Mapping[str, Any]) -> str:
    told = options.get("output", names[0] if len(names) == 1 else None)
    if told not in names:
        what = f"has no output '{told}'" if told else f"has {len(names)} outputs"
        raise CheckpointError(f"{file} {what}: give the option output= one of {', '.join(names)}")
    return str(told)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@register_backbone(groups=(), argument="FILE")
def onnx(file: str) -> Backbone:
    """An image encoder in an ONNX file.

    Its input is one batch of square images: float32 or float16 (scaled to 0..1, then mean and std; raw values of 0..255
    are mean=0,std=0.00392156862745098) or uint8 (pixels as they are). Its output is one vector an image, [B, D] or
    [B, D, 1, 1].

    Options, also in a TOML file of the same name (model.toml beside model.onnx; what is in brackets wins): size,
    resize=squash|short|letterbox, crop, interpolation=bilinear|bicubic, mean, std, layout=NCHW|NHWC, output=NAME.
    Without them images are resized to the file's own fixed size without keeping their shape, bilinear, with ImageNet's
    mean and deviation.
    """
    path = Path(file)
    return OnnxBackbone(
        name=f"onnx:{path.name}",
        arch="ONNX graph",
        embed_dim=None,
        preprocess=Preprocess(),
        weights=Weights(f"file:{file}", licence="", pretraining="unknown"),
        packages=("onnxruntime",),
        options=beside(path, OPTIONS),
    )
