"""The base of `ablation.py`, and the losses that it tries for the style head.

Each takes codes (n,), unit embeddings (n, d) and cosines to the classes (n, classes), and gives
one number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from training.presets import load_preset

PRESET = load_preset("artkin")
assert PRESET.work is not None
BASE = replace(PRESET, dropout=0.5, views=8, work=replace(PRESET.work, weight=0.45))
Loss = Callable[[Any, Any, Any], Any]


def cosface(codes: Any, _: Any, cosines: Any, *, margin: float, scale: float) -> Any:
    """Wang et al., CVPR 2018; without a margin a softmax over cosines."""
    right = tf.one_hot(codes, cosines.shape[-1])
    return _cross_entropy(codes, scale * (cosines - margin * right))


def arcface(codes: Any, _: Any, cosines: Any, *, margin: float, scale: float) -> Any:
    """Deng et al., CVPR 2019: the margin is an angle."""
    right = tf.one_hot(codes, cosines.shape[-1])
    angles = tf.acos(tf.clip_by_value(cosines, -0.9999, 0.9999))
    return _cross_entropy(codes, scale * tf.cos(tf.minimum(angles + margin * right, np.pi)))


def smoothed(codes: Any, unit: Any, cosines: Any, *, share: float) -> Any:
    """CosFace with label smoothing."""
    margin = BASE.margin
    assert margin is not None
    right = tf.one_hot(codes, cosines.shape[-1])
    wanted = right * (1 - share) + share / cosines.shape[-1]
    logits = margin.scale * (cosines - margin.margin * right)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))


def supervised_contrastive(codes: Any, unit: Any, _: Any) -> Any:
    """Khosla et al., NeurIPS 2020, temperature 0.1."""
    same, others = _pairs(codes)
    logits = tf.matmul(unit, unit, transpose_b=True) / 0.1
    logits = tf.where(others, logits, -1e9)
    share = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)
    of_same = tf.reduce_sum(tf.where(same, share, 0.0), axis=1)
    count = tf.reduce_sum(tf.cast(same, tf.float32), axis=1)
    return -tf.reduce_mean(of_same / tf.maximum(count, 1.0))


def multi_similarity(codes: Any, unit: Any, _: Any) -> Any:
    """Wang et al., CVPR 2019, without mining: alpha 2, beta 40, lambda 0.5."""
    same, others = _pairs(codes)
    cosines = tf.matmul(unit, unit, transpose_b=True)
    near = tf.where(same, tf.exp(-2.0 * (cosines - 0.5)), 0.0)
    far = tf.where(others & ~same, tf.exp(40.0 * (cosines - 0.5)), 0.0)
    near, far = tf.reduce_sum(near, axis=1), tf.reduce_sum(far, axis=1)
    return tf.reduce_mean(tf.math.log1p(near) / 2.0 + tf.math.log1p(far) / 40.0)


def proxy_anchor(codes: Any, _: Any, cosines: Any) -> Any:
    """Kim et al., CVPR 2020: alpha 32, delta 0.1, the classes' directions as proxies."""
    right = tf.one_hot(codes, cosines.shape[-1])
    near = tf.reduce_sum(right * tf.exp(-32.0 * (cosines - 0.1)), axis=0)
    far = tf.reduce_sum((1 - right) * tf.exp(32.0 * (cosines + 0.1)), axis=0)
    met = tf.reduce_sum(tf.cast(tf.reduce_any(right > 0, axis=0), tf.float32))
    return tf.reduce_sum(tf.math.log1p(near)) / met + tf.reduce_mean(tf.math.log1p(far))


def base(codes: Any, unit: Any, cosines: Any) -> Any:
    """The base's own."""
    assert BASE.margin is not None
    return cosface(codes, unit, cosines, margin=BASE.margin.margin, scale=BASE.margin.scale)


def beside_softmax(codes: Any, unit: Any, cosines: Any, *, loss: Loss) -> Any:
    """Another loss and CosFace, both in full."""
    return loss(codes, unit, cosines) + base(codes, unit, cosines)


def _pairs(codes: Any) -> tuple[Any, Any]:
    """Whether two of the batch are of one class, and whether they are two."""
    others = ~tf.eye(tf.shape(codes)[0], dtype=tf.bool)
    return (codes[:, None] == codes[None, :]) & others, others


def _cross_entropy(codes: Any, logits: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits))
