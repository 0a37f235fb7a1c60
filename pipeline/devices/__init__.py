"""Devices and workers: strategies, clusters, TPUs, what this machine has."""
