using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Kernels.Fused;

/// <summary>RMSNorm over the last dimension in one pass; only its input is kept, the inverse RMS is computed again.</summary>
internal sealed class RmsNormFunction : GradientFunction<RmsNormFunction>
{
    const long Grain = 64;

    /// <inheritdoc/>
    public override string Name => nameof(RmsNormFunction);

    /// <summary>vars: x […, width], weight [width], ε; both tensors of one type.</summary>
    /// <inheritdoc/>
    protected override Tensor Result(autograd.AutogradContext ctx, object[] vars)
    {
        (Tensor x, Tensor weight, double eps) = ((Tensor)vars[0], (Tensor)vars[1], (double)vars[2]);
        ctx.save_for_backward([x, weight]);
        ctx.save_data("eps", eps);
        Tensor y = empty_like(x);
        int width = checked((int)weight.numel());
        float[] w = Floats(weight);
        (FloatRows source, FloatRows target) = (new FloatRows(x, width), new FloatRows(y, width));
        RowLoop.For(x.numel() / width, Grain, (begin, end) =>
        {
            float[] buffer = source.Rounds ? RowBuffers.Take(0, width) : [];
            for (long row = begin; row < end; row++)
            {
                ReadOnlySpan<float> values = source.Read(row, buffer);
                Span<float> result = target.Target(row, buffer);
                RmsNormRow.Scale(values, RmsNormRow.InverseRms(values, eps), w, source.Rounds, result);
                target.Write(row, result);
            }
        });
        return y;
    }

    /// <inheritdoc/>
    protected override List<Tensor> Gradients(autograd.AutogradContext ctx, Tensor outputGradient)
    {
        using DisposeScope scope = NewDisposeScope();
        double eps = (double)ctx.get_data("eps");
        (Tensor x, Tensor weight) = ctx.get_saved_variables() is [var saved, var savedWeight] ? (saved, savedWeight) : throw new InvalidOperationException();
        using Tensor dy = outputGradient.contiguous();
        Tensor dx = empty_like(x);
        int width = checked((int)weight.numel());
        float[] w = Floats(weight);
        var dw = new PartialSums(width);
        (FloatRows source, FloatRows incoming, FloatRows target) = (new FloatRows(x, width), new FloatRows(dy, width), new FloatRows(dx, width));
        RowLoop.ForParts(x.numel() / width, (part, begin, end) =>
        {
            float[] xBuffer = source.Rounds ? RowBuffers.Take(0, width) : [], dyBuffer = incoming.Rounds ? RowBuffers.Take(1, width) : [];
            for (long row = begin; row < end; row++)
            {
                ReadOnlySpan<float> values = source.Read(row, xBuffer);
                Span<float> result = target.Target(row, dyBuffer);
                RmsNormRow.Gradient(values, RmsNormRow.InverseRms(values, eps), w, incoming.Read(row, dyBuffer), result, dw[part]);
                target.Write(row, result);
            }
        });
        outputGradient.Dispose();
        return BackwardResults.Return(dx, dw.ToTensor(weight), null);
    }

    /// <summary>A small weight as floats.</summary>
    internal static float[] Floats(Tensor weight)
    {
        float[] values = new float[weight.numel()];
        new FloatRows(weight, values.Length).Read(0, values).CopyTo(values);
        return values;
    }
}
