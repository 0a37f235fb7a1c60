"""The train step on tf.distribute, and the loop around it."""
