"""Names and sizes of the element types that safetensors files hold."""

from __future__ import annotations

from m2m.errors import CheckpointError

#: safetensors name to bytes an element; the types narrower than a byte are not supported.
SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip

#: The types that can be averaged.
MERGEABLE = frozenset({"F64", "F32", "F16", "BF16"})

#: safetensors name to torch's name.
TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "U16": "uint16", "I16": "int16", "F16": "float16", "BF16": "bfloat16",
    "U32": "uint32", "I32": "int32", "F32": "float32",
    "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64",
}  # fmt: skip

_BY_TORCH_NAME = {torch_name: name for name, torch_name in TORCH_NAMES.items()}


def parse_dtype(text: str) -> str:
    """Read an element type as people, recipes and configs write it.

    Args:
        text: `bfloat16`, `torch.bfloat16` or `BF16`.

    Returns:
        The safetensors name, as in `BF16`.

    Raises:
        CheckpointError: If there is no such type.
    """
    bare = text.removeprefix("torch.")
    name = _BY_TORCH_NAME.get(bare, bare.upper())
    if name not in SIZES:
        raise CheckpointError(f"unknown dtype {text!r}; known are {', '.join(_BY_TORCH_NAME)}")
    return name
