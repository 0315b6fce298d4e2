"""Read the tensors of a legacy torch file (`torch.save` before 1.6) without torch.

Such a file is a row of pickles (magic number, protocol, system, the state dictionary with
references to storages, the storages' keys) and then each storage's raw numbers. A pickle is a
program, so only the five names that a state dictionary needs can be loaded. Format:
https://github.com/pytorch/pytorch/blob/v2.9.1/torch/serialization.py (`_legacy_load`).
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from index.space.errors import BadInput

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype(np.float32),
    "LongStorage": np.dtype(np.int64),
}


class _Tensor:
    """A view into a storage whose numbers come later in the file."""

    def __init__(
        self, storage: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def view(self, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
        flat = storages[self.storage][self.offset :]
        steps = [stride * flat.itemsize for stride in self.strides]
        return np.array(np.lib.stride_tricks.as_strided(flat, self.shape, steps))


class _StateUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is not a tensor")

    def persistent_load(self, reference: Any) -> str:
        _, kind, key, *_ = reference
        self.dtypes[key] = _DTYPES[kind]
        return str(key)


def read_torch_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors by name, as numpy arrays of their own.

    Raises:
        BadInput: not such a file, or it holds more than tensors.
    """
    try:
        with path.open("rb") as file:
            magic, _protocol, _system = (_StateUnpickler(file).load() for _ in range(3))
            if magic != _MAGIC:
                raise BadInput(f"{path} must be a legacy torch file; its magic number is {magic!r}")
            unpickler = _StateUnpickler(file)
            state = unpickler.load()
            storages = {
                key: _read_storage(file, unpickler.dtypes[key])
                for key in _StateUnpickler(file).load()
            }
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} must be a legacy torch file of weights: {error}") from error
    return {name: tensor.view(storages) for name, tensor in state.items()}


def _read_storage(file: IO[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    data = file.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count)
