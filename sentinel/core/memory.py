"""Float64 values by their address: for kernels whose data must never be moved to grow, which arrays would have to be.

An address is that of the first value and an index counts values from there, as with an array. Nothing is checked: whoever uses these
owns the memory and has counted. Without compiled kernels the same functions go through ctypes.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final, cast

from llvmlite import ir  # type: ignore[import-untyped]  # it has no types
from numba.core import cgutils, types
from numba.extending import intrinsic

from sentinel.core.jit import JIT_DISABLED

VALUE_BYTES: Final = 8

_FLAG: Final = ir.IntType(32)
_TO_WRITE, _KEEP, _DATA = (ir.Constant(_FLAG, value) for value in (1, 3, 1))
_PLACE: Final = types.intp, types.intp


def _pointer(builder: Any, address: Any, index: Any) -> Any:  # noqa: ANN401  numba's own untyped objects
    return builder.gep(builder.inttoptr(address, ir.DoubleType().as_pointer()), [index])


def _load(_context: Any, address: Any, index: Any) -> Any:  # noqa: ANN401  numba's own untyped objects
    del address, index
    return types.float64(*_PLACE), lambda _context, builder, _signature, args: builder.load(_pointer(builder, *args))


def _store(_context: Any, address: Any, index: Any, value: Any) -> Any:  # noqa: ANN401  numba's own untyped objects
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401  as above
        builder.store(args[2], _pointer(builder, args[0], args[1]))
        return context.get_dummy_value()

    del address, index, value
    return types.void(*_PLACE, types.float64), generate


def _move(_context: Any, address: Any, target: Any, origin: Any, count: Any) -> Any:  # noqa: ANN401  numba's own untyped objects
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401  as above
        ends = _pointer(builder, args[0], args[1]), _pointer(builder, args[0], args[2])
        cgutils.raw_memmove(builder, *ends, args[3], itemsize=VALUE_BYTES)  # type: ignore[no-untyped-call]  # untyped in numba
        return context.get_dummy_value()

    del address, target, origin, count
    return types.void(*_PLACE, types.intp, types.intp), generate


def _prefetch(_context: Any, address: Any, index: Any) -> Any:  # noqa: ANN401  numba's own untyped objects
    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401  as above
        pointer = _pointer(builder, *args)
        form = ir.FunctionType(ir.VoidType(), [pointer.type, _FLAG, _FLAG, _FLAG])
        ask = cgutils.get_or_insert_function(builder.module, form, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]  # as above
        builder.call(ask, [pointer, _TO_WRITE, _KEEP, _DATA])
        return context.get_dummy_value()

    del address, index
    return types.void(*_PLACE), generate


def _choose(_context: Any, condition: Any, yes: Any, no: Any) -> Any:  # noqa: ANN401  numba's own untyped objects
    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401  as above
        chosen = builder.select(*args)
        chosen.set_metadata("unpredictable", builder.module.add_metadata([]))
        return chosen

    del condition, yes, no
    return types.intp(types.boolean, types.intp, types.intp), generate


def _plain_load(address: int, index: int) -> float:
    return ctypes.c_double.from_address(int(address) + VALUE_BYTES * int(index)).value


def _plain_store(address: int, index: int, value: float) -> None:
    ctypes.c_double.from_address(int(address) + VALUE_BYTES * int(index)).value = value


def _plain_move(address: int, target: int, origin: int, count: int) -> None:
    start = int(address)
    ctypes.memmove(start + VALUE_BYTES * int(target), start + VALUE_BYTES * int(origin), VALUE_BYTES * int(count))


def _plain_choose(condition: bool, yes: int, no: int) -> int:
    return yes if condition else no


def _plain_prefetch(address: int, index: int) -> None:
    """Plain Python waits for everything anyway."""


load = cast("Callable[[int, int], float]", _plain_load if JIT_DISABLED else intrinsic(_load))
"""`load(address, index)`: the value there."""

store = cast("Callable[[int, int, float], None]", _plain_store if JIT_DISABLED else intrinsic(_store))
"""`store(address, index, value)`."""

move = cast("Callable[[int, int, int, int], None]", _plain_move if JIT_DISABLED else intrinsic(_move))
"""`move(address, target, origin, count)` moves `count` values from index `origin` to `target`; the two may overlap."""

prefetch = cast("Callable[[int, int], None]", _plain_prefetch if JIT_DISABLED else intrinsic(_prefetch))
"""`prefetch(address, index)` asks for the cache line there, which is to be written soon; any address will do."""

choose = cast("Callable[[bool, int, int], int]", _plain_choose if JIT_DISABLED else intrinsic(_choose))
"""`choose(condition, yes, no)`: without a branch, where the processor would guess wrongly every other time."""
