"""The part of `dataclasses` that this program uses, without compiling source at start-up.

The library makes the text of `__init__` and four more methods of every class and compiles it: a third of a millisecond
a class, a fifth of the CPU of a whole run (docs/decisions/0009). Here the methods are closures. To type checkers it is
the library itself. Not here: order, kw_only, InitVar, and slots at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, fields, replace

    __all__ = ["asdict", "dataclass", "field", "fields", "replace"]
else:
    from operator import attrgetter

    __all__ = ["asdict", "dataclass", "field", "fields", "replace"]

    _MISSING = object()
    _FIELDS = "__record_fields__"

    class Field:
        """A field: its name, and what `field` said of it."""

        __slots__ = ("compare", "default", "default_factory", "init", "name", "repr")

        def __init__(self, *, default=_MISSING, default_factory=_MISSING, init=True, repr=True, compare=True):  # noqa: A002 - the library's names
            self.name = ""
            self.init = init
            self.default = default
            self.default_factory = default_factory
            self.repr = repr
            self.compare = compare

    class _Standard:
        """`__dataclass_fields__`, made when somebody asks: a plug-in may use the library's `replace` on our values."""

        def __get__(self, instance, owner):
            import dataclasses

            return {name: self._field(one, owner, dataclasses) for name, one in getattr(owner, _FIELDS).items()}

        @staticmethod
        def _field(one, owner, library):
            said = {
                key: getattr(one, key) for key in ("default", "default_factory") if getattr(one, key) is not _MISSING
            }
            made = library.field(init=one.init, repr=one.repr, compare=one.compare, **said)
            made.name, made.type = one.name, owner.__annotations__.get(one.name)
            made._field_type = library._FIELD
            return made

    _STANDARD = _Standard()

    def field(*, default=_MISSING, default_factory=_MISSING, init=True, repr=True, compare=True):  # noqa: A002 - the library's names
        """As of `dataclasses`."""
        return Field(default=default, default_factory=default_factory, init=init, repr=repr, compare=compare)

    def dataclass(cls=None, /, *, frozen=False, eq=True, slots=False):
        """As of `dataclasses`; `slots` is for the type checker."""
        if cls is None:
            return lambda found: _process(found, frozen=frozen, eq=eq)
        return _process(cls, frozen=frozen, eq=eq)

    def fields(value):
        """The fields of a class or an instance, in the order of `__init__`."""
        return tuple(getattr(value, _FIELDS).values())

    def replace(value, /, **changes):
        """A new instance with some values changed."""
        known = getattr(type(value), _FIELDS)
        kept = {name: getattr(value, name) for name, one in known.items() if one.init and name not in changes}
        return type(value)(**kept, **changes)

    def asdict(value):
        """Plain dictionaries of an instance and of all that it holds."""
        return {name: _plain(getattr(value, name)) for name in getattr(type(value), _FIELDS)}

    def _plain(value):
        if hasattr(type(value), _FIELDS):
            return asdict(value)
        if isinstance(value, (list, tuple)):
            return type(value)(_plain(item) for item in value)
        if isinstance(value, dict):
            return {_plain(key): _plain(item) for key, item in value.items()}
        return value

    def _process(cls, *, frozen, eq):
        known = dict(getattr(cls, _FIELDS, {}))
        for name, annotation in cls.__annotations__.items():
            if "ClassVar" not in str(annotation):
                known[name] = _own_field(cls, name)
        setattr(cls, _FIELDS, known)
        cls.__dataclass_fields__ = _STANDARD
        own = cls.__dict__
        if "__init__" not in own:
            cls.__init__ = _make_init(cls, known)
        if "__repr__" not in own:
            cls.__repr__ = _make_repr(tuple(name for name, one in known.items() if one.repr))
        if eq:
            _add_equality(cls, known, frozen=frozen)
        if frozen:
            cls.__setattr__ = cls.__delattr__ = _refuse
        cls.__match_args__ = tuple(name for name, one in known.items() if one.init)
        return cls

    def _own_field(cls, name):
        default = cls.__dict__.get(name, _MISSING)
        one = default if isinstance(default, Field) else Field(default=default)
        one.name = name
        if isinstance(default, Field):
            if one.default is _MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, one.default)
        if isinstance(one.default, (list, dict, set)):
            raise ValueError(f"{cls.__name__}.{name} has a mutable default: use default_factory")  # noqa: TRY004 - as the library
        return one

    def _make_init(cls, known):
        late = {name: one.default_factory for name, one in known.items() if not one.init}
        known = {name: one for name, one in known.items() if one.init}
        names = tuple(known)
        count = len(names)
        defaults = {name: one.default for name, one in known.items() if one.default is not _MISSING}
        factories = {name: one.default_factory for name, one in known.items() if one.default_factory is not _MISSING}
        after = hasattr(cls, "__post_init__")

        def init(self, *args, **kwargs):
            values = self.__dict__
            if len(args) > count:
                raise TypeError(f"{type(self).__name__}() takes {count} arguments, got {len(args)}")
            values.update(zip(names, args))  # noqa: B905 - fewer are fine
            if kwargs:
                _check_names(self, kwargs, known, names[: len(args)])
                values.update(kwargs)
            if len(values) < count:
                _fill(self, names, defaults, factories)
            for name, factory in late.items():
                if factory is not _MISSING:
                    values[name] = factory()
            if after:
                self.__post_init__()

        return init

    def _check_names(self, kwargs, known, given):
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{type(self).__name__}() got an unexpected argument {name!r}")
            if name in given:
                raise TypeError(f"{type(self).__name__}() got {name!r} twice")

    def _fill(self, names, defaults, factories):
        values = self.__dict__
        for name in names:
            if name in values:
                continue
            if name in defaults:
                values[name] = defaults[name]
            elif name in factories:
                values[name] = factories[name]()
            else:
                raise TypeError(f"{type(self).__name__}() lacks the argument {name!r}")

    def _make_repr(shown):
        def represent(self):
            return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

        return represent

    def _add_equality(cls, known, *, frozen):
        compared = tuple(name for name, one in known.items() if one.compare)
        if len(compared) > 1:
            key = attrgetter(*compared)
        elif compared:
            key = attrgetter(compared[0])
        else:
            key = type

        def equal(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return key(self) == key(other)

        if "__eq__" not in cls.__dict__:
            cls.__eq__ = equal
        if "__hash__" in cls.__dict__ and cls.__dict__["__hash__"] is not None:
            return
        cls.__hash__ = (lambda self: hash((cls, key(self)))) if frozen else None

    def _refuse(self, name, *_):
        raise AttributeError(f"cannot change {name!r} of a {type(self).__name__}")
