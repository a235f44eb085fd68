"""The DP-SGD engine: per-image gradients with the copies of an image summed inside, for about the price of plain ones.

``hooks`` joins Opacus, ``layers`` has one custom autograd function per layer type, ``kernels`` the ways to a
per-image weight gradient, ``tuning`` the choice among them, ``gradients`` what is kept until the norm is known,
``clipping`` norms and clipped sums, ``batches`` the size of a backward pass. Formulas and figures: ``docs/engine.md``.
"""
