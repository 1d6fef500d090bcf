using System.Numerics;
using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Adapters;

/// <summary>
/// Dropout whose mask comes from a seed: y = x ⊙ keep / (1 − p). The backward pass makes the mask again, so nothing but the seed is kept.
/// </summary>
/// <remarks>
/// An element is kept by a hash of the seed and its number, as in Philox-like generators, so the masks are the same on every device. libtorch's generator for
/// the CPU draws one number after the other, which cost a sixth of a LoRA step of the 270M model; that for a GPU cannot be had with a seed of its own from TorchSharp.
/// </remarks>
internal sealed class SeededDropout : GradientFunction<SeededDropout>
{
    const long Grain = 16, NumbersAtOnce = 1 << 22;

    /// <inheritdoc/>
    public override string Name => nameof(SeededDropout);

    /// <summary>vars: x […, width], the share to zero, the seed.</summary>
    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        (Tensor x, double share, ulong seed) = ((Tensor)vars[0], (double)vars[1], (ulong)vars[2]);
        ctx.save_data("share", share);
        ctx.save_data("seed", seed);
        return Masked(x, share, seed);
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        Tensor gradient = Masked(outputGradient, (double)ctx.get_data("share"), (ulong)ctx.get_data("seed"));
        outputGradient.Dispose();
        return BackwardResults.Return(gradient, null, null);
    }

    static Tensor Masked(Tensor x, double share, ulong seed)
    {
        using var noGrad = no_grad();
        return x.device_type == DeviceType.CPU ? MaskedOnCpu(x, share, seed) : MaskedByOperators(x, share, seed);
    }

    /// <summary>The specification, for any device: the hash in libtorch's operators, a few rows at a time, because its numbers take eight bytes.</summary>
    internal static Tensor MaskedByOperators(Tensor x, double share, ulong seed)
    {
        using DisposeScope scope = NewDisposeScope();
        using var noGrad = no_grad();
        const long Low = 0xFFFFFFFF;
        long width = x.size(-1), count = x.numel() / width, atOnce = Math.Max(1, NumbersAtOnce / width);
        Tensor source = x.reshape(count, width), y = empty_like(source), columns = Range(width, ScalarType.Int64, x.device);
        for (long begin = 0; begin < count; begin += atOnce)
        {
            using DisposeScope chunk = NewDisposeScope();
            long rows = Math.Min(atOnce, count - begin);
            var range = TensorIndex.Slice(begin, begin + rows);
            Tensor start = (Range(rows, ScalarType.Int64, x.device) * Number(width)).Plus(Number(unchecked((begin * width) + (long)seed))).unsqueeze(-1); // [rows, 1]
            Tensor high = start.ShiftRight(32) & Low, value = (start & Low).Plus(columns) & Low;                                                          // [rows, width]
            value ^= value.ShiftRight(16);
            value = (value * Number(0x7FEB352DL)) & Low;
            value ^= value.ShiftRight(15);
            value ^= high;
            value = (value * Number(0x846CA68BL)) & Low;
            value ^= value.ShiftRight(16);
            value = (value * Number(0x7FEB352DL)) & Low;
            value ^= value.ShiftRight(15);
            y[range] = (source[range].to_type(ScalarType.Float32) * Number((float)(1 / (1 - share)))).where(value.ge(Number((long)(share * (1L << 32)))), 0).to_type(x.dtype);
        }

        return y.reshape(x.shape).MoveToOuterDisposeScope();
    }

    static Tensor MaskedOnCpu(Tensor x, double share, ulong seed)
    {
        using Tensor contiguous = x.contiguous();
        int width = checked((int)x.size(-1));
        Tensor y = empty(x.shape, x.dtype);
        (FloatRows source, FloatRows target) = (new FloatRows(contiguous, width), new FloatRows(y, width));
        (uint limit, float scale) = ((uint)(share * (1L << 32)), (float)(1 / (1 - share)));
        RowLoop.For(y.numel() / width, Grain, (begin, end) =>
        {
            float[] input = source.Rounds ? RowBuffers.Take(0, width) : [], output = source.Rounds ? RowBuffers.Take(1, width) : [];
            for (long row = begin; row < end; row++)
            {
                Span<float> result = target.Target(row, output);
                Mask(source.Read(row, input), (ulong)(row * width) + seed, limit, scale, result);
                target.Write(row, result);
            }
        });
        return y;
    }

    // Element i of a row is kept if its hash reaches the limit.
    static void Mask(ReadOnlySpan<float> x, ulong start, uint limit, float scale, Span<float> y)
    {
        (uint low, uint high) = ((uint)start, (uint)(start >> 32));
        int i = 0;
        Vector<uint> lanes = Vector<uint>.Indices;
        for (; i <= x.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<uint> kept = Vector.GreaterThanOrEqual(Hash(lanes + new Vector<uint>(unchecked(low + (uint)i)), high), new Vector<uint>(limit));
            Vector.ConditionalSelect(Vector.AsVectorSingle(kept), new Vector<float>(x[i..]) * scale, Vector<float>.Zero).CopyTo(y[i..]);
        }

        for (; i < x.Length; i++)
        {
            y[i] = Hash(new Vector<uint>(unchecked(low + (uint)i)), high)[0] >= limit ? x[i] * scale : 0;
        }
    }

    // Two rounds of multiply and xor-shift (C. Wellons' lowbias32), the seed's upper half between them.
    static Vector<uint> Hash(Vector<uint> value, uint high)
    {
        value ^= value >>> 16;
        value *= 0x7FEB352D;
        value ^= value >>> 15;
        value ^= new Vector<uint>(high);
        value *= 0x846CA68B;
        value ^= value >>> 16;
        value *= 0x7FEB352D;
        return value ^ (value >>> 15);
    }
}
