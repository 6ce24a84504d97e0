"""The structs of decoder.c."""

from ctypes import POINTER, Structure, c_double, c_int64, c_void_p


class Matrix(Structure):
    """Rows are outputs. ``scale`` (one a row) goes with int8; ``bias`` may be null."""

    _fields_ = [
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("kind", c_int64),
    ]


class Norm(Structure):
    """LayerNorm, or RMSNorm where ``bias`` is null; none where ``weight`` is."""

    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("eps", c_double)]


class Layer(Structure):
    _fields_ = [
        ("norm_1", Norm),
        ("norm_2", Norm),
        ("query_norm", Norm),
        ("key_norm", Norm),
        ("qkv", Matrix),
        ("out", Matrix),
        ("mlp_in", Matrix),
        ("mlp_out", Matrix),
        ("sees", c_void_p),
    ]


class Model(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("num_layers", "width", "heads", "groups", "head_width", "hidden")),
        *((name, c_int64) for name in ("activation", "gated")),
        ("layers", POINTER(Layer)),
        ("norm", Norm),
        ("head", Matrix),
    ]


class Pass(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("batch", "new_tokens", "length", "capacity", "layer_stride")),
        *((name, c_int64) for name in ("logits_of_last", "sees_stride", "rotation_stride")),
        *((name, c_void_p) for name in ("keys", "values", "x", "rotation", "skip", "logits", "scratch")),
        ("threads", c_int64),
    ]


def address(x) -> int | None:
    """Where a tensor's numbers begin; null for none."""
    return None if x is None else x.data_ptr()


__all__ = ["Layer", "Matrix", "Model", "Norm", "Pass", "address"]
