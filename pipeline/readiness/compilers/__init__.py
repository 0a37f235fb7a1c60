"""What the compilers of TPUs and GPUs make of a train step, on any machine."""
