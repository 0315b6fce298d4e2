"""A torch file written by hand, since torch itself is not installed."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from index.space.errors import BadInput
from training.torch_weights import read_torch_weights

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    pass


class Tensor:
    def __init__(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.arguments = (Storage(), offset, shape, strides, False, OrderedDict())


class Writer(pickle.Pickler):
    """Pickles as torch does: tensors by `_rebuild_tensor_v2`, storages by reference."""

    def __init__(self, file: io.BytesIO, storage_type: type, rebuild: object) -> None:
        super().__init__(file, protocol=2)
        self._type, self._rebuild = storage_type, rebuild

    def persistent_id(self, obj: object) -> object:
        return ("storage", self._type, "0", "cpu", 6, None) if isinstance(obj, Storage) else None

    def reducer_override(self, obj: object) -> object:
        return (self._rebuild, obj.arguments) if isinstance(obj, Tensor) else NotImplemented


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    storage = type("FloatStorage", (), {"__module__": "torch", "__qualname__": "FloatStorage"})

    def _rebuild_tensor_v2(*_: object) -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch.FloatStorage, utils._rebuild_tensor_v2 = storage, _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(path: Path, state: object) -> Path:
        file = io.BytesIO()
        for header in (MAGIC, 1001, {"little_endian": True}):
            pickle.dump(header, file, protocol=2)
        Writer(file, storage, _rebuild_tensor_v2).dump(state)
        pickle.dump(["0"], file, protocol=2)
        file.write((6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes())
        path.write_bytes(file.getvalue())
        return path

    return write


def test_strides_and_offsets_are_honoured(tmp_path, writer):
    state = OrderedDict(
        plain=Tensor(0, (2, 3), (3, 1)),
        turned=Tensor(0, (3, 2), (1, 3)),
        last=Tensor(4, (2,), (1,)),
    )
    read = read_torch_weights(writer(tmp_path / "w.pth", state))
    assert read["plain"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read["last"].tolist() == [4, 5]


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run by the unpickler",))


def test_a_program_in_the_pickle_is_refused(tmp_path, writer, capsys):
    path = writer(tmp_path / "w.pth", {"x": Malicious()})
    with pytest.raises(BadInput, match="which is not a tensor"):
        read_torch_weights(path)
    assert "run by" not in capsys.readouterr().out


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(BadInput, match="legacy torch file"):
        read_torch_weights(path)
