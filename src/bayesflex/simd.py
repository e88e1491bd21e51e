"""Eight numbers at a time inside Numba kernels: a vector type that the processor's own instructions carry out.

Numba turns a loop into vector instructions only where it can prove that nothing is in the way, which the loops here
(list of neighbours, shared sums) do not let it. A kernel that uses these types says so itself. LLVM maps a vector of
eight to one register of AVX-512, two of AVX2 or four of SSE2 and NEON, so that the same kernel runs everywhere.

A vector is a value like a float: ``a + b``, ``a - b``, ``a * b``, ``a / b``; ``a < b`` gives a mask, ``mask & mask``
another. Products and sums may be contracted to one rounding; nothing else is reordered, and a kernel gives the same
bits in each run on one machine.
"""

# Numba's extension interface has no types.
# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false, disallow-subclassing-any=false

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

from bayesflex.compiling import PART

#: Numbers in a vector.
WIDTH = 8

_INT32 = ir.IntType(32)
_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, WIDTH)
_SINGLES, _HALVES = ir.VectorType(ir.FloatType(), WIDTH), ir.VectorType(ir.HalfType(), WIDTH)
_INTEGERS = ir.VectorType(_INT32, WIDTH)
_MASK = ir.VectorType(ir.IntType(1), WIDTH)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)


class _VectorType(types.Type):
    def __init__(self):
        super().__init__(name="float64x8")


class _MaskType(types.Type):
    def __init__(self):
        super().__init__(name="bool8")


float64x8 = _VectorType()
bool8 = _MaskType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, type_):
        super().__init__(manager, type_, _VECTOR)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, type_):
        super().__init__(manager, type_, _MASK)


def _operator(function, result, operand, code):
    """Define an operator on two values of one type."""

    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = (signature(result, operand, operand),)

    @lower_builtin(function, operand, operand)
    def _lower(context, builder, sig, args):
        return code(builder, *args)


def _contracted(method):
    return lambda builder, a, b: getattr(builder, method)(a, b, flags=("contract",))


_operator(operator.add, float64x8, float64x8, _contracted("fadd"))
_operator(operator.sub, float64x8, float64x8, _contracted("fsub"))
_operator(operator.mul, float64x8, float64x8, _contracted("fmul"))
_operator(operator.truediv, float64x8, float64x8, _contracted("fdiv"))
_operator(operator.lt, bool8, float64x8, lambda builder, a, b: builder.fcmp_ordered("<", a, b))
_operator(operator.gt, bool8, float64x8, lambda builder, a, b: builder.fcmp_ordered(">", a, b))
_operator(operator.and_, bool8, bool8, lambda builder, a, b: builder.and_(a, b))


def _indices(numbers):
    numbers = list(numbers)
    return ir.Constant(ir.VectorType(_INT32, len(numbers)), numbers)


def _splat(builder, value):
    first = builder.insert_element(_UNDEFINED, value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, _UNDEFINED, _indices([0] * WIDTH))


def _widens_halves(context):
    """Return whether the processor that is compiled for makes numbers of 16 bits longer by itself."""
    triple, _, features = context.codegen().magic_tuple()
    return "+f16c" in features or not triple.startswith(("x86_64", "i686"))


def _widened(builder, halves):
    """Return numbers of 16 bits in 32, by their bits: without an instruction for it, LLVM would call a library."""
    bits = builder.zext(builder.bitcast(halves, ir.VectorType(ir.IntType(16), WIDTH)), _INTEGERS)

    def moved(mask, places):
        mask, places = (ir.Constant(_INTEGERS, [number] * WIDTH) for number in (mask, places))
        return builder.shl(builder.and_(bits, mask), places)

    # Exponents begin at -127 in place of -15, and what is below the least one is a number as well.
    size = builder.fmul(builder.bitcast(moved(0x7FFF, 13), _SINGLES), ir.Constant(_SINGLES, [2.0**112] * WIDTH))
    return builder.bitcast(builder.or_(builder.bitcast(size, _INTEGERS), moved(0x8000, 16)), _SINGLES)


def _pointer(context, builder, array_type, array, index, vector):
    """Return the address of element ``index`` of an array in C order, counted over all its axes, as a vector's."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def splat(typingctx, value):
    """Return eight times the same number."""
    return float64x8(types.float64), lambda context, builder, sig, args: _splat(builder, args[0])


@intrinsic
def load(typingctx, array, index):
    """Return eight successive elements of an array in C order, from ``index`` of its flat form.

    They have 64, 32 or 16 bits; those of 16, which Numba has no numbers for, are given as ``uint16`` (a view).
    """
    size = array.dtype.bitwidth
    stored = {64: _VECTOR, 32: _SINGLES, 16: _HALVES}[size]

    def code(context, builder, sig, args):
        value = builder.load(_pointer(context, builder, array, args[0], args[1], stored), align=size // 8)
        if size == 64:
            return value
        if size == 16 and not _widens_halves(context):
            value = _widened(builder, value)
        return builder.fpext(value, _VECTOR)

    return float64x8(array, types.intp), code


@intrinsic
def broadcast(typingctx, array, index):
    """Return eight times one element of an array of 64-bit numbers in C order, at ``index`` of its flat form."""

    def code(context, builder, sig, args):
        return _splat(builder, builder.load(_pointer(context, builder, array, args[0], args[1], _DOUBLE), align=8))

    return float64x8(array, types.intp), code


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the line of the cache that holds an element of an array in C order, at ``index`` of its flat form.

    Nothing is read, so that the index may lie outside of the array. Where a processor cannot, it does nothing.
    """

    def code(context, builder, sig, args):
        address = _pointer(context, builder, array, args[0], args[1], ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _INT32, _INT32, _INT32])
        name = "llvm.prefetch.p0i8"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        # To read, to be kept in all levels, as data.
        builder.call(function, [address, *(ir.Constant(_INT32, number) for number in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), code


@intrinsic
def multiply_add(typingctx, a, b, c):
    """Return a b + c, in one rounding where the processor can.

    A product that goes into several sums is otherwise taken once, and each sum by an instruction more.
    """

    def code(context, builder, sig, args):
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = "llvm.fmuladd.v8f64"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, args)

    return float64x8(float64x8, float64x8, float64x8), code


@intrinsic
def negative(typingctx, value):
    """Return each number with its sign changed: nothing to do where it goes into :func:`multiply_add`."""
    return float64x8(float64x8), lambda context, builder, sig, args: builder.fneg(args[0])


@intrinsic
def store(typingctx, array, index, value):
    """Set eight successive elements of an array of 64-bit numbers in C order, from ``index`` of its flat form."""

    def code(context, builder, sig, args):
        builder.store(args[2], _pointer(context, builder, array, args[0], args[1], _VECTOR), align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, float64x8), code


@intrinsic
def load_points(typingctx, points, index):
    """Return x, y and z of eight successive rows of an (n, 3) array of 64-bit numbers in C order."""

    def code(context, builder, sig, args):
        wide = ir.VectorType(_DOUBLE, 3 * WIDTH)
        first = builder.mul(args[1], ir.Constant(args[1].type, 3))
        value = builder.load(_pointer(context, builder, points, args[0], first, wide), align=8)
        axes = [builder.shuffle_vector(value, value, _indices(range(k, 3 * WIDTH, 3))) for k in range(3)]
        return context.make_tuple(builder, sig.return_type, axes)

    return types.UniTuple(float64x8, 3)(points, types.intp), code


@intrinsic
def store_points(typingctx, points, index, x, y, z):
    """Set eight successive rows of an (n, 3) array of 64-bit numbers in C order."""

    def code(context, builder, sig, args):
        wide = ir.VectorType(_DOUBLE, 3 * WIDTH)
        first = builder.mul(args[1], ir.Constant(args[1].type, 3))
        xy = builder.shuffle_vector(args[2], args[3], _indices(range(2 * WIDTH)))
        zz = builder.shuffle_vector(args[4], args[4], _indices(range(2 * WIDTH)))
        order = [WIDTH * axis + lane for lane in range(WIDTH) for axis in range(3)]
        value = builder.shuffle_vector(xy, zz, _indices(order))
        builder.store(value, _pointer(context, builder, points, args[0], first, wide), align=8)
        return context.get_dummy_value()

    return types.void(points, types.intp, float64x8, float64x8, float64x8), code


@intrinsic
def select(typingctx, mask, a, b):
    """Return a where the mask is set and b elsewhere; what is in the other one there, NaN too, does not count."""
    return float64x8(bool8, float64x8, float64x8), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def any_of(typingctx, mask):
    """Return whether the mask is set anywhere."""

    def code(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(bool8), code


@intrinsic
def bits_of(typingctx, mask):
    """Return the mask as a number: bit k is set where the mask is at k."""

    def code(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(bool8), code


@intrinsic
def square_root(typingctx, value):
    """Return the square root of each number."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        function = builder.module.globals.get("llvm.sqrt.v8f64") or ir.Function(builder.module, kind, "llvm.sqrt.v8f64")
        return builder.call(function, [args[0]])

    return float64x8(float64x8), code


@intrinsic
def _times_power_of_two(typingctx, value, exponent):
    """Return each number times 2^n, with n the integer that the last bits of ``exponent`` hold."""

    def code(context, builder, sig, args):
        whole = ir.VectorType(ir.IntType(64), WIDTH)
        bits, n = (builder.bitcast(arg, whole) for arg in args)
        return builder.bitcast(builder.add(bits, builder.shl(n, ir.Constant(whole, [52] * WIDTH))), _VECTOR)

    return float64x8(float64x8, float64x8), code


def _folded(builder, value, width):
    """Add halves of a vector to each other until ``width`` numbers are left."""
    size = WIDTH
    while size > width:
        size //= 2
        low = builder.shuffle_vector(value, value, _indices(range(size)))
        high = builder.shuffle_vector(value, value, _indices(range(size, 2 * size)))
        value = builder.fadd(low, high)
    return value


@intrinsic
def total(typingctx, value):
    """Return the sum of the eight numbers, in a fixed order."""

    def code(context, builder, sig, args):
        return builder.extract_element(_folded(builder, args[0], 1), ir.Constant(_INT32, 0))

    return types.float64(float64x8), code


@intrinsic
def total_even(typingctx, value):
    """Return the sum of the numbers 0, 2, 4 and 6."""

    def code(context, builder, sig, args):
        return builder.extract_element(_folded(builder, args[0], 2), ir.Constant(_INT32, 0))

    return types.float64(float64x8), code


@intrinsic
def total_odd(typingctx, value):
    """Return the sum of the numbers 1, 3, 5 and 7."""

    def code(context, builder, sig, args):
        return builder.extract_element(_folded(builder, args[0], 2), ir.Constant(_INT32, 1))

    return types.float64(float64x8), code


@intrinsic
def totals(typingctx, values):
    """Return the vector of the sums of eight vectors: half as many shuffles as eight times ``total``."""

    def code(context, builder, sig, args):
        rows = [builder.extract_value(args[0], k) for k in range(WIDTH)]
        for half in (4, 2, 1):
            # Two vectors become one: numbers ``half`` apart are added, those of the second where bit ``half`` is set.
            low = _indices(number if not number & half else WIDTH + number - half for number in range(WIDTH))
            high = _indices(number + half if not number & half else WIDTH + number for number in range(WIDTH))
            rows = [
                builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))
                for a, b in zip(rows[:half], rows[half:], strict=True)
            ]
        return rows[0]

    return float64x8(types.UniTuple(float64x8, WIDTH)), code


@intrinsic
def lane(typingctx, value, index):
    """Return the number at an index."""

    def code(context, builder, sig, args):
        return builder.extract_element(args[0], builder.trunc(args[1], _INT32))

    return types.float64(float64x8, types.intp), code


def _shift(by):
    @intrinsic
    def shifted(typingctx, before, value):
        """Return the last numbers of one vector followed by the first ones of the next."""

        def code(context, builder, sig, args):
            return builder.shuffle_vector(args[0], args[1], _indices(range(WIDTH - by, 2 * WIDTH - by)))

        return float64x8(float64x8, float64x8), code

    return shifted


#: ``shifted_k(before, value)``: the last k numbers of one vector followed by the first 8 - k of the next.
shifted_1, shifted_2, shifted_3 = _shift(1), _shift(2), _shift(3)


@intrinsic
def lowest_bit(typingctx, value):
    """Return the place of the lowest bit that is set in a number that is not zero."""

    def code(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


_TAN_EIGHTH = math.tan(math.pi / 8.0)


def _arc_coefficients():
    """Return c with arctan(s) = s Σ c_k s^2k to rounding for |s| ≤ tan(π/8): interpolated at Chebyshev points."""
    degree, end = 11, _TAN_EIGHTH**2
    v = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    root = np.sqrt(0.5 * end * (1.0 + v))
    series = np.polynomial.Chebyshev(np.polynomial.chebyshev.chebfit(v, np.arctan(root) / root, degree))
    return series(np.polynomial.Polynomial([-1.0, 2.0 / end])).coef


_ARC = _arc_coefficients()


@njit(**PART)
def arc(y, x):
    """Return the angle of the points (x, y), from -π to π; 0 at the origin. Within 3 units of rounding."""
    zero = splat(0.0)
    size, height = select(x < zero, zero - x, x), select(y < zero, zero - y, y)
    length = square_root(x * x + y * y)
    # The tangent of half the angle from the nearer end of the x axis; from π/8 on, that of what half the angle is less
    # than π/4. Halving once more would take another root and another division, which take longest of all.
    reach = length + size
    steep = height > splat(_TAN_EIGHTH) * reach
    rise, run = select(steep, height - reach, height), select(steep, height + reach, reach)
    tangent = select(length > zero, rise / run, zero)
    square = tangent * tangent
    series = splat(_ARC[len(_ARC) - 1])
    for k in range(len(_ARC) - 2, -1, -1):
        series = series * square + splat(_ARC[k])
    near = select(steep, splat(0.5 * math.pi), zero) + splat(2.0) * tangent * series
    angle = select(x < zero, splat(math.pi) - near, near)
    return select(y < zero, zero - angle, angle)


# ln 2 in two parts, the first so short that its product with an exponent is exact.
_LOG2_E, _LN2_HIGH, _LN2_LOW = 1.0 / math.log(2.0), 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOWEST_EXPONENT = -700.0
# Added to a number, it leaves the nearest integer in the last bits.
_ROUNDING = 1.5 * 2.0**52
_EXP_SERIES = tuple(1.0 / math.factorial(k) for k in range(14))


@njit(**PART)
def exponential(x):
    """Return e^x of each number up to 700; below -700, e^-700. Within 2 units of rounding."""
    lowest = splat(_LOWEST_EXPONENT)
    x = select(x < lowest, lowest, x)
    shifted = x * splat(_LOG2_E) + splat(_ROUNDING)
    n = shifted - splat(_ROUNDING)
    rest = x - n * splat(_LN2_HIGH) - n * splat(_LN2_LOW)
    series = splat(_EXP_SERIES[13])
    for k in range(12, -1, -1):
        series = series * rest + splat(_EXP_SERIES[k])
    return _times_power_of_two(series, shifted)


#: Bytes in a line of the cache of most processors.
_CACHE_LINE = 64

#: Rows that an array of points needs beyond its points, so that a kernel may read and write eight rows at any of them
#: and at the three after it.
MARGIN = 2 * WIDTH


def with_margin(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (n, 3) followed by ``MARGIN`` rows that repeat the last one."""
    out = np.empty((len(points) + MARGIN, 3))
    out[: len(points)] = points
    out[len(points) :] = points[-1] if len(points) else 0.0
    return out


@njit(**PART)
def add_to_points(points, index, x, y, z):
    """Add to eight successive rows of an array of points."""
    px, py, pz = load_points(points, index)
    store_points(points, index, px + x, py + y, pz + z)


def aligned_zeros(*shape: int) -> NDArray[np.float64]:
    """Return zeros that begin where a line of the cache does: a vector of eight then never lies on two lines."""
    return aligned(np.zeros(shape))


def aligned(values: NDArray[np.float64], kind: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """Return a copy, in C order and of this kind of numbers, that begins where a line of the cache does."""
    size = np.dtype(kind).itemsize * values.size
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % _CACHE_LINE
    out = memory[begin : begin + size].view(kind).reshape(values.shape)
    out[...] = values
    return out


def padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a 1-D array continued by zeros to a multiple of ``WIDTH``; it begins where a line of the cache does."""
    return aligned(np.pad(values, (0, -len(values) % WIDTH)))
