"""Two-model methods that take each element from one side or the other: nearswap, arcee_fusion."""

from __future__ import annotations

from m2m.merging.methods.spec import Method, Parameter, twin

NEARSWAP = Method(
    name="nearswap",
    base="required",
    least=1,
    most=1,
    parameters=(Parameter("t", "shared", "number", required=True, low=0, open_low=True),),
    kind="elementwise",
    space="task vectors",
    source="alchemonaut, QuartetAnemoi-70B-t0.0001 (model card)",
    differences="",
    reference=twin("swaps", rule="nearswap"),
)

ARCEE_FUSION = Method(
    name="arcee_fusion",
    base="required",
    least=1,
    most=1,
    parameters=(),
    kind="selection",
    space="task vectors",
    source="Arcee Fusion, defined by mergekit (docs.arcee.ai)",
    differences="quartiles are exact (mergekit: of 1 M random elements); chosen elements are copied",
    reference=twin("swaps", rule="arcee_fusion"),
    row="last axis",
)

METHODS = (NEARSWAP, ARCEE_FUSION)
