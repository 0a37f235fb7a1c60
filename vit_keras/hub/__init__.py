"""Weights by name: from the Hugging Face Hub, the official buckets and other servers."""
