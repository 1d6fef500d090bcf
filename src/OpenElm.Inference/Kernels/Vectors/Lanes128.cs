using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>4 lanes: any processor with vectors of 128 bits, with a faster step for integers where x86 has SSSE3 or Arm its dot product.</summary>
internal readonly unsafe struct Lanes128 : ILanes<Vector128<float>, Vector128<int>>
{
    public static int Count => Vector128<float>.Count;

    public static bool AddsWholeBytes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* from) => Vector128.Load(from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<float> value, float* to) => value.Store(to);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) => Vector128.FusedMultiplyAdd(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Negate(Vector128<float> a) => -a;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ToFloats(Vector128<int> value) => Vector128.ConvertToSingle(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> AsFloats(Vector128<int> value) => value.AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadHalves(byte* from)
    {
        // Sign, exponent and 10 bits of the fraction to their places; the sign came in again and again on the left. Then the exponent
        // moves by a multiplication, which is exact for subnormals too; infinity and NaN, now 65536 or more, get all its bits.
        Vector128<int> half = Vector128.WidenLower(Vector128.CreateScalar(*(ulong*)from).AsInt16());
        Vector128<float> value = ((half << 13) & Vector128.Create(unchecked((int)0x8FFFE000))).AsSingle() * Vector128.Create(5.192296858534828e33f); // 2^112
        return value | (Vector128.GreaterThanOrEqual(Vector128.Abs(value), Vector128.Create(65536f)) & Vector128.Create(float.PositiveInfinity));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadBytes(byte* from) => Vector128.ConvertToSingle(Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalar(*(uint*)from).AsByte())).AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadSignedBytes(byte* from) => Vector128.ConvertToSingle(Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalar(*(uint*)from).AsSByte())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Load(byte* from) => Vector128.Load((int*)from);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Broadcast(int value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> And(Vector128<int> a, Vector128<int> b) => a & b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Or(Vector128<int> a, Vector128<int> b) => a | b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> ShiftLeft(Vector128<int> value, int bits) => value << bits;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> ShiftRight(Vector128<int> value, int bits) => value >>> bits;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Add(Vector128<int> a, Vector128<int> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Products(Vector128<int> weights, Vector128<int> activations)
    {
        if (Dp.IsSupported)
        {
            return Dp.DotProduct(Vector128<int>.Zero, weights.AsSByte(), activations.AsSByte());
        }

        return Ssse3.IsSupported ? Ssse3.MultiplyAddAdjacent(weights.AsByte(), activations.AsSByte()).AsInt32() : Pairs(weights, activations).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> AddProducts(Vector128<int> sums, Vector128<int> weights, Vector128<int> activations) => Dp.IsSupported
        ? Dp.DotProduct(sums, weights.AsSByte(), activations.AsSByte())
        : (sums.AsInt16() + Products(weights, activations).AsInt16()).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Join(Vector128<int> a, Vector128<int> b) => Dp.IsSupported ? a + b : (a.AsInt16() + b.AsInt16()).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Sum(Vector128<int> products)
    {
        if (Dp.IsSupported)
        {
            return products;
        }

        return Sse2.IsSupported ? Sse2.MultiplyAddAdjacent(products.AsInt16(), Vector128<short>.One) : (products << 16 >> 16) + (products >> 16);
    }

    // The products of neighbouring bytes, added in pairs: bytes 0 and 2 of a lane as the lower halves of its words, then 1 and 3.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<short> Pairs(Vector128<int> weights, Vector128<int> activations)
    {
        Vector128<short> w = weights.AsInt16(), x = activations.AsInt16();
        return ((w & Vector128.Create((short)0xFF)) * (x << 8 >> 8)) + ((w >>> 8) * (x >> 8));
    }
}
