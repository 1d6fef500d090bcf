using System.Numerics;
using OpenElm.Training.Torch;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>SiLU(gate) · up in one pass, and its gradient in one; only the input is kept.</summary>
/// <remarks>With s = 1/(1 + e^−gate): y = gate·s·up, d gate = dy·up·s·(1 + gate·(1 − s)), d up = dy·gate·s.</remarks>
internal sealed class SwiGluFunction : GradientFunction<SwiGluFunction>
{
    const long Grain = 16;

    /// <inheritdoc/>
    public override string Name => nameof(SwiGluFunction);

    /// <summary>vars: gate and up […, 2 · ffnDim].</summary>
    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        var gateUp = (Tensor)vars[0];
        ctx.save_for_backward([gateUp]);
        long[] shape = gateUp.shape;
        int ffnDim = checked((int)(shape[^1] / 2));
        Tensor y = empty([.. shape[..^1], ffnDim], gateUp.dtype);
        (FloatRows source, FloatRows target) = (new FloatRows(gateUp, 2 * ffnDim), new FloatRows(y, ffnDim));
        RowLoop.For(y.numel() / ffnDim, Grain, (begin, end) =>
        {
            float[] input = source.Rounds ? RowBuffers.Take(0, 2 * ffnDim) : [], output = source.Rounds ? RowBuffers.Take(1, ffnDim) : [];
            for (long row = begin; row < end; row++)
            {
                ReadOnlySpan<float> values = source.Read(row, input);
                Span<float> result = target.Target(row, output);
                Forward(values[..ffnDim], values[ffnDim..], result);
                target.Write(row, result);
            }
        });
        return y;
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        using Tensor gateUp = ctx.get_saved_variables()[0];
        using Tensor dy = outputGradient.contiguous();
        int ffnDim = checked((int)dy.size(-1));
        Tensor gradient = empty_like(gateUp);
        (FloatRows source, FloatRows incoming, FloatRows target) = (new FloatRows(gateUp, 2 * ffnDim), new FloatRows(dy, ffnDim), new FloatRows(gradient, 2 * ffnDim));
        RowLoop.For(dy.numel() / ffnDim, Grain, (begin, end) =>
        {
            float[] input = source.Rounds ? RowBuffers.Take(0, 2 * ffnDim) : [], output = source.Rounds ? RowBuffers.Take(1, 2 * ffnDim) : [], d = incoming.Rounds ? RowBuffers.Take(2, ffnDim) : [];
            for (long row = begin; row < end; row++)
            {
                ReadOnlySpan<float> values = source.Read(row, input);
                Span<float> result = target.Target(row, output);
                Backward(values[..ffnDim], values[ffnDim..], incoming.Read(row, d), result[..ffnDim], result[ffnDim..]);
                target.Write(row, result);
            }
        });
        outputGradient.Dispose();
        return BackwardResults.Return(gradient);
    }

    static void Forward(ReadOnlySpan<float> gate, ReadOnlySpan<float> up, Span<float> y)
    {
        int i = 0;
        for (; i <= gate.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<float> g = new(gate[i..]);
            (g / (Vector<float>.One + Vector.Exp(-g)) * new Vector<float>(up[i..])).CopyTo(y[i..]);
        }

        for (; i < gate.Length; i++)
        {
            y[i] = gate[i] / (1 + MathF.Exp(-gate[i])) * up[i];
        }
    }

    static void Backward(ReadOnlySpan<float> gate, ReadOnlySpan<float> up, ReadOnlySpan<float> dy, Span<float> dGate, Span<float> dUp)
    {
        int i = 0;
        for (; i <= gate.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<float> g = new(gate[i..]), d = new(dy[i..]);
            Vector<float> s = Vector<float>.One / (Vector<float>.One + Vector.Exp(-g));
            Vector<float> silu = g * s;
            (d * new Vector<float>(up[i..]) * (s + (silu * (Vector<float>.One - s)))).CopyTo(dGate[i..]);
            (d * silu).CopyTo(dUp[i..]);
        }

        for (; i < gate.Length; i++)
        {
            float s = 1 / (1 + MathF.Exp(-gate[i]));
            float silu = gate[i] * s;
            dGate[i] = dy[i] * up[i] * (s + (silu * (1 - s)));
            dUp[i] = dy[i] * silu;
        }
    }
}
