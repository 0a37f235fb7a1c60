"""Sizes as people read them."""


def gigabytes(size: float) -> str:
    """Bytes in GB (1e9), or in MB below one."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
