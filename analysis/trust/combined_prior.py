"""What complete truths say of the combined surrogate's coefficients (`analysis.trust.combined`).

The last lines of `python benchmarks/combined.py quickstart two vision five four`: complete runs of
`examples/quickstart.toml`, `two_capabilities.toml` and `vision_icons.toml`, and of
`benchmarks/truth_five_texts.toml` and `truth_four_texts.toml`, 28 targets, and sixty made truths.
"""

#: μ, of best member, members' mean and q.
MEAN = (0.4118, 0.1465, 0.0499)
#: S.
COVARIANCE = ((0.2916, -0.2611, -0.1731), (-0.2611, 0.4301, 0.2647), (-0.1731, 0.2647, 0.3668))
#: Variance of the noise around m + Φβ, in squared standard deviations of the merged scores.
NOISE = 0.1928
