"""The one door from m2m to the theory and the figures: what a run and a search on the simplex have drawn.

Both read what a run wrote and know m2m's rooms; so m2m asks for them late, and here alone.
"""

from __future__ import annotations

from pathlib import Path

from m2m.pipeline.advice import Adviser
from m2m.pipeline.run_folder import RunFolder


def adviser(folder: RunFolder) -> Adviser:
    """Make who says which mixtures of a run to train, and what they say about its pick."""
    from analysis.trust.adviser import TrustAdviser

    return TrustAdviser(folder.figures)


def study_run(folder: RunFolder) -> None:
    """Add fidelity to the results, where every mixture was really trained, and draw the run's figures.

    How the experts lie to each other is measured too: they are read once more, for the report's cosines.
    """
    from analysis.fidelity import of_run, record
    from analysis.studies import measure_orthogonality
    from paper_figs.merge_to_mix import bars, beside, contenders, curves, scatter

    results = folder.read_results()
    if "pick" in results.get("trust", {}):
        contenders.draw(folder.figures, folder.figures)
    if results.get("oracle"):
        record(of_run(folder.root), folder.root)
        scatter.draw(folder.figures, folder.figures)
        beside.draw(folder.figures, folder.figures)
    measure_orthogonality(folder.root, out=folder.figures)
    bars.draw(folder.results, folder.figures)
    curves.draw(folder.root, folder.figures)


def draw_mix(folder: Path) -> Path:
    """Draw what `m2m mix` wrote into a folder; returns the figure as PNG."""
    from paper_figs.mergemix import mix

    return mix.draw(folder, folder)[0]
