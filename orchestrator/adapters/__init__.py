"""The only place with vendor words: what stands behind the ports. This file stays empty: the shim imports it."""
