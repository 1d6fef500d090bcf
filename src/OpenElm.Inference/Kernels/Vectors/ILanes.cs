namespace OpenElm.Inference.Kernels.Vectors;

/// <summary>
/// What the products need of a vector register, so that each is written once: <see cref="Count"/> lanes of 32 bits, each lane
/// one row of a tile. The compiler specialises a product for every width.
/// </summary>
/// <typeparam name="TFloats">A register of floats.</typeparam>
/// <typeparam name="TInts">A register of 32-bit integers, or of 4 bytes in each lane.</typeparam>
internal unsafe interface ILanes<TFloats, TInts>
    where TFloats : unmanaged
    where TInts : unmanaged
{
    /// <summary>Lanes: 4, 8 or 16.</summary>
    static abstract int Count { get; }

    /// <summary>Whether <see cref="AddProducts"/> takes weights above 127 and adds without limit; see there.</summary>
    static abstract bool AddsWholeBytes { get; }

    /// <summary>Reads neighbouring floats.</summary>
    static abstract TFloats Load(float* from);

    /// <summary>Writes neighbouring floats.</summary>
    static abstract void Store(TFloats value, float* to);

    /// <summary>One float in every lane.</summary>
    static abstract TFloats Broadcast(float value);

    /// <summary>a · b + c, rounded once.</summary>
    static abstract TFloats MultiplyAdd(TFloats a, TFloats b, TFloats c);

    /// <summary>a · b.</summary>
    static abstract TFloats Multiply(TFloats a, TFloats b);

    /// <summary>−a.</summary>
    static abstract TFloats Negate(TFloats a);

    /// <summary>Integers → floats.</summary>
    static abstract TFloats ToFloats(TInts value);

    /// <summary>The same bits as floats.</summary>
    static abstract TFloats AsFloats(TInts value);

    /// <summary>Neighbouring halves → floats, exactly.</summary>
    static abstract TFloats LoadHalves(byte* from);

    /// <summary>Neighbouring unsigned bytes → floats.</summary>
    static abstract TFloats LoadBytes(byte* from);

    /// <summary>Neighbouring signed bytes → floats.</summary>
    static abstract TFloats LoadSignedBytes(byte* from);

    /// <summary>Reads 4 · <see cref="Count"/> bytes.</summary>
    static abstract TInts Load(byte* from);

    /// <summary>One integer, or the same 4 bytes, in every lane.</summary>
    static abstract TInts Broadcast(int value);

    /// <summary>a &amp; b.</summary>
    static abstract TInts And(TInts a, TInts b);

    /// <summary>a | b.</summary>
    static abstract TInts Or(TInts a, TInts b);

    /// <summary>Shifts 32 bits to the left.</summary>
    static abstract TInts ShiftLeft(TInts value, int bits);

    /// <summary>Shifts 32 bits to the right; zeros come in.</summary>
    static abstract TInts ShiftRight(TInts value, int bits);

    /// <summary>a + b.</summary>
    static abstract TInts Add(TInts a, TInts b);

    /// <summary>
    /// The products of 4 weights with 4 activations of each lane, not yet added up: two sums of 16 bits in a lane, each of two
    /// products (or, where <see cref="AddsWholeBytes"/>, one of 32 bits). Weights are at most 127.
    /// </summary>
    /// <param name="weights">Unsigned bytes.</param>
    /// <param name="activations">Signed bytes, −127 … 127.</param>
    static abstract TInts Products(TInts weights, TInts activations);

    /// <summary>
    /// <see cref="Products"/> added to earlier ones. 16 bits hold 8 times the products of weights up to 15 (8 · 2 · 127 · 15 = 30480) and
    /// twice those of weights up to 63 (32004).
    /// </summary>
    static abstract TInts AddProducts(TInts sums, TInts weights, TInts activations);

    /// <summary>Two such sums added.</summary>
    static abstract TInts Join(TInts a, TInts b);

    /// <summary>The products of each lane, added up to 32 bits.</summary>
    static abstract TInts Sum(TInts products);
}
