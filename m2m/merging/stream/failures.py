"""What went wrong in the compiled stream, told with names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from m2m.checkpoint.header import MERGEABLE
from m2m.errors import CheckpointError, M2MError
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.tensors import files_of, product_of

if TYPE_CHECKING:
    from m2m._core import Stream


class InterruptedMergeError(M2MError):
    """The user's system failed while reading or writing; what is finished stays for `resume`."""

    exit_code = 2

    exit_code = 2


#: What can be done after it did.
GO_ON = "resume goes on where it stopped"


def raise_failure(plan: MergePlan, stream: Stream) -> None:
    """Raise what a worker met, with names in place of numbers; nothing if all went well.

    Args:
        plan: The plan that was run.
        stream: The stream that ran it; it has ended.

    Raises:
        CheckpointError: If an input shrank, changed, is not finite, or differs where it must not.
        InterruptedMergeError: If the system failed to read or write, or a CUDA device failed.
    """
    try:
        failure = stream.failure
    except RuntimeError as error:  # not of the stream's own kinds: a CUDA device has failed
        raise InterruptedMergeError(f"{error}; {GO_ON}") from error
    if failure is None:
        return
    kind, number, model, element, code = failure
    tensor = plan.tensors[number]
    name = f"tensor {tensor.entry.name!r}"
    if kind == "write":
        where = f"{plan.outputs[model].name or 'output'}: {name}"
        raise InterruptedMergeError(f"{where}: cannot be written: {os.strerror(code)}; {GO_ON}")
    if kind == "changed":
        files = dict.fromkeys(str(file) for source in tensor.sources for file in files_of(source))
        raise CheckpointError(
            f"{', '.join(files)}: one of them changed while it was used: two passes over {name} met other "
            "values; start again when nothing writes to it"
        )
    file = " + ".join(map(str, files_of(tensor.sources[model]))) if kind != "overflow" else None
    if kind == "read":
        raise InterruptedMergeError(f"{file}: {name}: cannot be read: {os.strerror(code)}; {GO_ON}")
    if kind == "shrunk":
        raise CheckpointError(f"{file}: shrank during the merge: {name} is cut off")
    if kind == "nonfinite":
        raise CheckpointError(
            f"{file}: {name} is NaN or infinite at index {element}; allow_nonfinite lets it pass"
        )
    if kind == "factor":
        product = product_of(tensor.sources[model])
        assert product is not None
        factor = (product.left, product.right)[code]
        raise CheckpointError(f"{factor.file}: {factor.name!r} is NaN or infinite at index {element}")
    if kind == "overflow":
        raise CheckpointError(
            f"{name}: the merged value at index {element} of {plan.outputs[model].name or 'the output'} is "
            f"too large for {tensor.entry.dtype}; choose a wider dtype, or allow_nonfinite"
        )
    if kind == "negative":
        raise CheckpointError(f"{file}: {name} is negative at index {element}; Fisher estimates cannot be")
    first = files_of(tensor.sources[0])[0]
    raise CheckpointError(
        f"{file}: {name} ({tensor.entry.dtype}) differs at byte {element} from {first}; "
        f"only {', '.join(sorted(MERGEABLE))} are averaged, other types must be equal in all inputs"
    )
