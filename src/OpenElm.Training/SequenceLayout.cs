using System.Collections.Immutable;
using static TorchSharp.torch;

namespace OpenElm.Training;

/// <summary>One record in a sequence that holds several.</summary>
/// <param name="Row">The sequence.</param>
/// <param name="Start">Its first position there.</param>
/// <param name="Length">Its tokens.</param>
internal readonly record struct Segment(int Row, int Start, int Length);

/// <summary>Where the tokens of a batch stand, and which of them see each other. Tensors must live until the backward pass is done.</summary>
/// <param name="Cos">[≥ Period, headDim / 2]: cosines of RoPE; token t of the batch, row after row, takes line t mod Period.</param>
/// <param name="Sin">The sines, likewise.</param>
/// <param name="Period">seq, where all sequences count alike; batch · seq, where each token has a line of its own.</param>
/// <param name="Segments">The records, row after row, where sequences hold several; default: each sequence is one record.</param>
internal sealed record SequenceLayout(Tensor Cos, Tensor Sin, long Period, ImmutableArray<Segment> Segments)
{
    /// <summary>Whether sequences hold several records.</summary>
    public bool IsPacked => !Segments.IsDefault;

    /// <summary>Finds the records of a packed batch.</summary>
    /// <param name="positions">[batch · seq]: 0 begins a record, as does a new sequence.</param>
    /// <param name="seq">Positions of a sequence.</param>
    public static ImmutableArray<Segment> SegmentsOf(ReadOnlySpan<int> positions, int seq)
    {
        var segments = ImmutableArray.CreateBuilder<Segment>();
        for (int at = 0; at < positions.Length;)
        {
            int start = at++;
            while (at % seq != 0 && positions[at] != 0)
            {
                at++;
            }

            segments.Add(new Segment(start / seq, start % seq, at - start));
        }

        return segments.ToImmutable();
    }
}
