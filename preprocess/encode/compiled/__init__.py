"""The compiled encoder: numba kernels over UTF-8 bytes, equal to the reference bit for bit."""
