"""Pixels to embeddings: the SavedModel run by OpenVINO, without TensorFlow on the machine.

Precision is asked for (f32) and never left to the processor: where bfloat16 exists OpenVINO uses
it unasked, and vectors then differ from TensorFlow's by 0.01. Each call has an infer request of
its own and copies the result out before giving it back: a shared request answers one caller with
another's vectors.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from index.parallel import parallel_map
from index.space.cores import cores, quota
from index.space.errors import ArtefactError, BadInput
from index.space.model import SAVED_MODEL, Model

# `import openvino` reports itself, with an id for the machine, to an analytics service. Without
# the package that does it, it takes its own stub (openvino/tools/ovc/telemetry_utils.py).
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino as ov  # noqa: E402

PRECISION = "f32"
CANARY_COSINE = 0.9999
# Of many cores each stream takes several: every stream has memory of its own.
_MOST_STREAMS = 4


def compile_graph(
    graph: ov.Model, shape: tuple[int, ...], hint: str, threads: int = 0
) -> ov.CompiledModel:
    """A graph made ready for this processor, in f32.

    Args:
        shape: of its input, batch first.
        hint: "LATENCY" or "THROUGHPUT", see OpenVINO's performance hints.
        threads: cores it may take; 0, all of them that a container's limit leaves.
    """
    options: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": PRECISION,
        "PERFORMANCE_HINT": hint,
        "PERFORMANCE_HINT_NUM_REQUESTS": _MOST_STREAMS,
        "INFERENCE_NUM_THREADS": threads or (cores() if quota() else 0),
    }
    graph.reshape(list(shape))
    return ov.Core().compile_model(graph, "CPU", options)


def converted(traced: object) -> ov.Model:
    """A traced TensorFlow function (its `ConcreteFunction`) as OpenVINO's graph, never on disk.

    With weights of its own: shared ones are TensorFlow's to free, when the model is let go of.
    """
    return ov.convert_model(traced, share_weights=False)


def each_alone(compiled: ov.CompiledModel, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a graph of batch 1 and one output on many pictures, as many at once as it has streams.

    Args:
        compiled: for throughput.
        pixels: uint8 (n, height, width, 3).

    Returns:
        float32 (n, ...).
    """
    found = np.empty((len(pixels), *compiled.output(0).shape[1:]), np.float32)
    streams = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def run(stream: int) -> None:
        request = compiled.create_infer_request()
        for row in range(stream, len(pixels), streams):
            found[row] = request.infer([pixels[row : row + 1]])[0][0]

    # Not OpenVINO's own AsyncInferQueue: it can hang when it is thrown away, its destructor
    # holding the interpreter's lock that a callback waits for.
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(run, range(streams)))
    return found


class Encoder:
    """Embeds batches of pixels; safe to call from several threads at once.

    Args:
        model: a verified model.
        batch: pictures computed together. Fixed, so that memory is flat: 1, by all cores, for the
            latency of a query; more, several batches at once, for the throughput of an index.
        threads: cores it may take; 0, all of them that a container's limit leaves.
        saved_model: of the model's folder.

    Raises:
        ArtefactError: OpenVINO cannot read the SavedModel.
    """

    def __init__(
        self, model: Model, batch: int, threads: int = 0, saved_model: str = SAVED_MODEL
    ) -> None:
        spec = model.manifest.preprocessing
        self.model = model
        self._batch = batch
        self._shape = (spec.height, spec.width, 3)
        try:
            graph = ov.Core().read_model(model.folder / saved_model)
            hint = "LATENCY" if batch == 1 else "THROUGHPUT"
            self._compiled = compile_graph(graph, (batch, *self._shape), hint, threads)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise ArtefactError(f"{model.folder}: OpenVINO cannot run it: {line}") from error
        self.streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: list[ov.InferRequest] = []
        self._lock = threading.Lock()

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures.

        Args:
            pixels: uint8 of shape (n, height, width, 3), from `preprocessing.to_pixels`.

        Returns:
            float32 of shape (n, dimension), unit norm.

        Raises:
            BadInput: another shape or dtype.
            ArtefactError: the model gave a vector that is not finite or not of unit norm.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != self._shape:
            raise BadInput(
                f"pixels must be uint8 (n, {', '.join(map(str, self._shape))}); received "
                f"{pixels.dtype} {pixels.shape}"
            )
        chunks = [pixels[at : at + self._batch] for at in range(0, len(pixels), self._batch)]
        if len(chunks) == 1:  # a query need not wait for a thread to start
            embeddings = self._run(chunks[0])
        else:
            none = np.empty((0, self._compiled.output(0).shape[1]), np.float32)
            embeddings = np.concatenate([none, *parallel_map(self._run, chunks, self.streams)])
        norms = np.linalg.norm(embeddings, axis=1)
        if not (np.abs(norms - 1) < 1e-3).all():  # false for NaN as well
            raise ArtefactError(f"{self.model.folder}: the model gave a vector not of unit norm")
        return embeddings

    def check_canaries(self) -> NDArray[np.float32]:
        """Compare with the vectors that training gave the model's own pictures.

        Returns:
            float32 (canaries, dimension): the vectors that this machine gives them.

        Raises:
            ArtefactError: a cosine below 0.9999: this machine computes another space.
        """
        pixels, expected = self.model.canaries()
        found = self.encode(pixels)
        cosine = float((found * expected).sum(axis=1).min())
        if cosine < CANARY_COSINE:
            raise ArtefactError(
                f"{self.model.folder}: a canary picture must embed as in training (cosine >= "
                f"{CANARY_COSINE}); received {cosine:.5f}. Model or runtime differ from training's"
            )
        return found

    def _run(self, chunk: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(chunk)
        if count < self._batch:
            chunk = np.concatenate([chunk, np.zeros((self._batch - count, *self._shape), np.uint8)])
        with self._lock:
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            result = request.infer([np.ascontiguousarray(chunk)])[0]
            return np.array(result[:count])
        finally:
            with self._lock:
                self._idle.append(request)
