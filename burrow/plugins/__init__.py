"""Tunnel protocols dropped in as modules: any directory on ``sys.path`` may hold ``burrow/plugins/``.

Such a directory has no ``__init__.py``, neither in ``burrow`` nor in ``plugins``. Its modules are
loaded by `burrow.discovery`; no cache file is written.
"""

from __future__ import annotations

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
