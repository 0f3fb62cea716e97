"""The isinstance of protocols, the same with every version of Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from abc import ABCMeta as _ProtocolMeta
else:
    _ProtocolMeta = type(Protocol)

_ABSENT = object()


class Delegating(_ProtocolMeta):
    """Metaclass of a runtime-checkable protocol that also knows objects which hand a member over
    by `__getattr__`, as wrappers do. Since Python 3.12 isinstance looks at what is defined alone.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        if super().__instancecheck__(instance):
            return True
        # Python 3.11 has looked at attributes already, and has no such list.
        members = getattr(cls, "__protocol_attrs__", ()) if getattr(cls, "_is_protocol", 0) else ()
        return bool(members) and all(cls._has(instance, name) for name in members)

    def _has(cls, instance: Any, name: str) -> bool:
        found = getattr(instance, name, _ABSENT)
        is_no_method = found is None and callable(getattr(cls, name, None))
        return found is not _ABSENT and not is_no_method
