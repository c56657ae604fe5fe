"""Files to take away: videos, pictures, animations and tables of a finished piece of work."""

from xmem.export.kinds import EXPORTS, ExportKind, export
from xmem.export.source import ExportProgress, ExportSource

__all__ = ["EXPORTS", "ExportKind", "ExportProgress", "ExportSource", "export"]
