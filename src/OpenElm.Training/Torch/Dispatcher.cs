using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>
/// ATen operators that TorchSharp does not expose, called through libtorch's plain-C dispatcher. Autograd works through it.
/// </summary>
/// <remarks>
/// Every argument is eight bytes: a fresh tensor handle, the bits of a double, an integer, a list handle, or for an optional
/// a malloc'd cell (0 is none). The call consumes handles, lists and cells.
/// </remarks>
internal static unsafe class Dispatcher
{
    const ulong BuiltForVersion = (2UL << 56) | (10UL << 48);

    /// <summary>The loaded library's version.</summary>
    public static ulong AbiVersion => NativeInterface.AbiVersion();

    /// <summary>Scaled-dot-product attention with grouped heads and without an expanded copy of keys and values.</summary>
    /// <param name="q">[batch, queryHeads, seq, headDim].</param>
    /// <param name="k">[batch, kvHeads, seq, headDim].</param>
    /// <param name="v">[batch, kvHeads, seq, headDim].</param>
    /// <param name="causal">Whether a position sees only itself and earlier ones.</param>
    /// <param name="scale">The factor of the scores; null is 1/√headDim.</param>
    /// <returns>[batch, queryHeads, seq, headDim].</returns>
    public static Tensor Attention(Tensor q, Tensor k, Tensor v, bool causal, double? scale = null)
    {
        bool grouped = q.size(1) != k.size(1);
        ulong* stack = stackalloc ulong[] { T(q), T(k), T(v), 0, Bits(0), Bit(causal), Optional(scale), Bit(grouped) };
        Call("aten::scaled_dot_product_attention"u8, ""u8, stack);
        return Take(stack[0]);
    }

    /// <summary>Which kernels libtorch would compute causal attention with.</summary>
    /// <param name="q">[batch, queryHeads, seq, headDim].</param>
    /// <param name="k">[batch, kvHeads, seq, headDim].</param>
    /// <param name="v">[batch, kvHeads, seq, headDim].</param>
    public static AttentionBackend AttentionChoice(Tensor q, Tensor k, Tensor v)
    {
        ulong* stack = stackalloc ulong[] { T(q), T(k), T(v), 0, Bits(0), Bit(true), 0, Bit(q.size(1) != k.size(1)) };
        Call("aten::_fused_sdp_choice"u8, ""u8, stack);
        return (AttentionBackend)stack[0];
    }

    /// <summary>libtorch's own RMSNorm: x · rsqrt(mean(x²) + ε) · weight over the last dimension.</summary>
    /// <param name="x">[…, width].</param>
    /// <param name="weight">[width].</param>
    /// <param name="eps">ε.</param>
    /// <returns>[…, width].</returns>
    public static Tensor RmsNorm(Tensor x, Tensor weight, double eps)
    {
        ulong* stack = stackalloc ulong[] { T(x), Integers([(ulong)weight.size(0)]), Optional(T(weight)), Optional(Bits(eps)) };
        Call("aten::rms_norm"u8, ""u8, stack);
        return Take(stack[0]);
    }

    /// <summary>Looks up rows; look-ups of the padding row send no gradient back.</summary>
    /// <param name="weight">[rows, width].</param>
    /// <param name="ids">[…] row numbers, int64.</param>
    /// <param name="paddingId">The padding row, or null.</param>
    /// <returns>[…, width].</returns>
    public static Tensor Embedding(Tensor weight, Tensor ids, long? paddingId)
    {
        ulong* stack = stackalloc ulong[] { T(weight), T(ids), (ulong)(paddingId ?? -1), Bit(false), Bit(false) };
        Call("aten::embedding"u8, ""u8, stack);
        return Take(stack[0]);
    }

    /// <summary>A matrix product into a tensor that exists: fresh memory for each product costs a page fault every 4 KiB.</summary>
    /// <param name="a">[m, k].</param>
    /// <param name="b">[k, n].</param>
    /// <param name="result">[m, n], overwritten.</param>
    public static void MatMul(Tensor a, Tensor b, Tensor result)
    {
        ulong* stack = stackalloc ulong[] { T(a), T(b), T(result) };
        Call("aten::mm"u8, "out"u8, stack);
        Take(stack[0]).Dispose();
    }

    /// <summary>Reads the bytes of a tensor as half-precision numbers, without a copy.</summary>
    /// <param name="bytes">[…, 2 · n], uint8.</param>
    /// <returns>[…, n], half precision.</returns>
    public static Tensor AsHalf(Tensor bytes)
    {
        ulong* stack = stackalloc ulong[] { T(bytes), (ulong)ScalarType.Float16 };
        Call("aten::view"u8, "dtype"u8, stack);
        return Take(stack[0]);
    }

    /// <summary>One AdamW update of many tensors in one call, in place.</summary>
    /// <param name="parameters">The weights.</param>
    /// <param name="gradients">Their gradients.</param>
    /// <param name="averages">First moments.</param>
    /// <param name="squareAverages">Second moments.</param>
    /// <param name="steps">One 0-dim float tensor for each weight: updates done, already counting this one.</param>
    /// <param name="learningRate">Learning rate.</param>
    /// <param name="beta1">Decay of the first moment.</param>
    /// <param name="beta2">Decay of the second moment.</param>
    /// <param name="weightDecay">Decoupled weight decay.</param>
    /// <param name="eps">ε of the denominator.</param>
    public static void FusedAdamW(
        IReadOnlyList<Tensor> parameters, IReadOnlyList<Tensor> gradients, IReadOnlyList<Tensor> averages, IReadOnlyList<Tensor> squareAverages,
        IReadOnlyList<Tensor> steps, double learningRate, double beta1, double beta2, double weightDecay, double eps)
    {
        ulong* stack = stackalloc ulong[]
        {
            Tensors(parameters), Tensors(gradients), Tensors(averages), Tensors(squareAverages), Tensors([]), Tensors(steps),
            Bits(learningRate), Bits(beta1), Bits(beta2), Bits(weightDecay), Bits(eps), Bit(false), Bit(false), 0, 0,
        };
        Call("aten::_fused_adamw_"u8, ""u8, stack);
    }

    /// <summary>Multiplies many tensors by one 0-dim tensor in one call, in place; the factor stays on its device.</summary>
    /// <param name="tensors">The tensors.</param>
    /// <param name="factor">0-dim.</param>
    public static void ForeachMultiply(IReadOnlyList<Tensor> tensors, Tensor factor)
    {
        ulong* stack = stackalloc ulong[] { Tensors(tensors), T(factor) };
        Call("aten::_foreach_mul_"u8, "Tensor"u8, stack);
    }

    /// <summary>Has a tensor look at another one's memory; what looked at its old memory keeps that.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="source">Shape and memory to take over, of the same type.</param>
    public static void SetData(Tensor tensor, Tensor source)
    {
        ulong* stack = stackalloc ulong[] { T(tensor), T(source) };
        Call("aten::set_"u8, "source_Tensor"u8, stack);
        Take(stack[0]).Dispose();
    }

    /// <summary>The first element of a tensor, the view's offset included.</summary>
    public static nint DataPointer(Tensor tensor)
    {
        Check(NativeInterface.DataPointer(tensor.Handle, out nint pointer), "aoti_torch_get_data_ptr");
        return pointer;
    }

    static void Call(ReadOnlySpan<byte> op, ReadOnlySpan<byte> overload, ulong* stack)
    {
        // u8 literals end in a zero byte that is not part of their length; an empty one is such a byte too.
        fixed (byte* name = op, variant = overload)
        {
            byte none = 0;
            int status = NativeInterface.CallDispatcher(name, variant is null ? &none : variant, stack, BuiltForVersion);
            if (status != 0)
            {
                throw new InvalidOperationException($"{System.Text.Encoding.UTF8.GetString(op)} failed; libtorch has written the reason to standard error.");
            }
        }
    }

    static void Check(int status, string call)
    {
        if (status != 0)
        {
            throw new InvalidOperationException($"{call} failed; libtorch has written the reason to standard error.");
        }
    }

    static Tensor Take(ulong handle) => Tensor.UnsafeCreateTensor((nint)handle);

    static ulong T(Tensor tensor)
    {
        Check(NativeInterface.NewTensorHandle(tensor.Handle, out nint handle), "aoti_torch_new_tensor_handle");
        GC.KeepAlive(tensor);
        return (ulong)handle;
    }

    static ulong Tensors(IReadOnlyList<Tensor> tensors)
    {
        Check(NativeInterface.NewList((nuint)tensors.Count, out nint list), "torch_new_list_reserve_size");
        for (int i = 0; i < tensors.Count; i++)
        {
            Check(NativeInterface.PushBack(list, T(tensors[i])), "torch_list_push_back");
        }

        return (ulong)list;
    }

    static ulong Integers(ReadOnlySpan<ulong> values)
    {
        Check(NativeInterface.NewList((nuint)values.Length, out nint list), "torch_new_list_reserve_size");
        foreach (ulong value in values)
        {
            Check(NativeInterface.PushBack(list, value), "torch_list_push_back");
        }

        return (ulong)list;
    }

    static ulong Optional(double? value) => value is { } number ? Optional(Bits(number)) : 0;

    static ulong Optional(ulong value)
    {
        var cell = (ulong*)NativeMemory.Alloc(sizeof(ulong));
        *cell = value;
        return (ulong)cell;
    }

    static ulong Bits(double value) => BitConverter.DoubleToUInt64Bits(value);

    static ulong Bit(bool value) => value ? 1UL : 0UL;
}
