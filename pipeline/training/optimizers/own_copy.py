"""Variables that every replica keeps a copy of, changed from within a replica.

Each replica computes the same update from the same sum, on its own copy. So an update needs no
other replica, and can be part of a function that XLA compiles.
"""

from __future__ import annotations

import tensorflow as tf

MIRRORED = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


def own_copy(variable: tf.Variable) -> tf.Variable:
    """The copy of `variable` on the replica that asks; from within one.

    Under strategies that keep no copies, or whose compiler finds the right one by itself, as a
    TPU's, it is `variable`.
    """
    replica = tf.distribute.get_replica_context()
    if not isinstance(replica.strategy, MIRRORED):
        return variable
    copies = replica.strategy.experimental_local_results(variable)
    # Replicas are numbered worker by worker, and each worker has the same number of them.
    return copies[tf.get_static_value(replica.replica_id_in_sync_group) % len(copies)]
