"""sce: select the elements that vary most, weight experts by their energy there, erase minority signs."""

from __future__ import annotations

from m2m.merging.methods.spec import Method, flag, number, twin

SCE = Method(
    name="sce",
    base="required",
    least=1,
    most=None,
    parameters=(number("select_topk", "shared", 1.0, low=0, high=1), flag("int8_mask", False, effect=False)),
    kind="selection",
    space="task vectors",
    source="Wan et al., FuseChat, 2024, arXiv 2408.07990",
    differences=(
        "an exact tie of signs merges nothing, `definition: mergekit` elects +; divisors have no clamp; "
        "equal weights replace energies only if all are zero (mergekit: below a sum of 1e-6, "
        "as small task vectors have)"
    ),
    reference=twin("sce"),
)

METHODS = (SCE,)
