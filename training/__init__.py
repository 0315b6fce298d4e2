"""Offline side of artkin: a collection becomes an evaluated embedding model."""

import os
import sys
import tempfile

from index.space.cores import cores, quota

if quota():
    # By itself TensorFlow takes a thread a core of the machine.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores()))
# By itself TensorFlow uses oneDNN only where a processor has AVX-512's or AMX's instructions for
# networks; with AVX2 alone a step of the whole network takes two thirds of the time with it
# (benchmarks/training_speed.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# TensorFlow reports each missing GPU library as an error; what really fails raises in Python.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _import_tensorflow_quietly() -> None:
    """Import TensorFlow without the lines about oneDNN and CUDA that it writes before its log
    level holds; where the import fails they are shown."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: PLC0415
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    # Every phase traces its own graphs, which TensorFlow takes for a mistake and says at length.
    tensorflow.get_logger().setLevel("ERROR")


_import_tensorflow_quietly()
