"""Understanding a result: measures per frame, shot cuts, frames worth checking, scores, comparisons.

Its modules are imported by name (`from xmem.analysis.stats import measure`), since some of them need `xmem.session`,
which needs others of them.
"""
