"""Layers that draw at random, or that run twice, train the same weights on 1 and 2 replicas."""

from __future__ import annotations

from trained_steps import assert_same, train

from pipeline.devices.strategy import mirrored_strategy


def test_remat_dropout_and_stochastic_depth_on_two_replicas(config, change):
    """Recomputed with the same draws, by both replicas, in microbatches."""
    noise = {"model__dropout_rate": 0.2, "model__stochastic_depth_rate": 0.3}
    noisy = change(config, model__num_layers=1, **noise)
    one = train(noisy, mirrored_strategy(1))
    remat = change(noisy, model__remat=True, accumulate=2)
    assert_same(train(remat, mirrored_strategy(2)), one, 1e-5)
