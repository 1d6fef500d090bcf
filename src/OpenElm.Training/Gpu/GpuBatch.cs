using System.Collections.Immutable;
using OpenElm.Cuda;
using static TorchSharp.torch;

namespace OpenElm.Training.Gpu;

/// <summary>The records of a batch whose sequences hold several.</summary>
/// <param name="Segments">The records, in the order of tokens.</param>
/// <param name="Starts">[records + 1], on the device: where each begins, then the number of tokens; int32.</param>
/// <param name="Longest">Tokens of the longest.</param>
internal sealed record PackedRecords(ImmutableArray<Segment> Segments, Tensor Starts, int Longest);

/// <summary>A micro-batch on the GPU, with everything about it that differs from batch to batch: the launches that read it are always the same.</summary>
internal sealed class GpuBatch : IDisposable
{
    readonly EmbeddingOrder _order;
    readonly PinnedStaging<int> _staging;
    readonly DeviceBuffer _buffer;
    readonly int _tokens, _length;

    /// <param name="sequences">Sequences.</param>
    /// <param name="sequenceLength">Tokens of a sequence.</param>
    /// <param name="vocab">Ids.</param>
    /// <param name="device">The GPU.</param>
    public GpuBatch(int sequences, int sequenceLength, int vocab, Device device)
    {
        (_tokens, _length, MostDistinct) = (sequences * sequenceLength, sequenceLength, Math.Min(vocab, sequences * sequenceLength));
        int count = CountOf(_tokens);
        (_order, _staging, _buffer) = (new EmbeddingOrder(vocab, _tokens), new PinnedStaging<int>(count), DeviceBuffer.Empty(device, ScalarType.Int32, count));
    }

    /// <summary>Bytes of a token in all its parts.</summary>
    public const int BytesPerToken = 7 * sizeof(int);

    /// <summary>[tokens] ids.</summary>
    public nint Inputs => Part(0);

    /// <summary>[tokens] the id after each, or the ignored one.</summary>
    public nint Targets => Part(1);

    /// <summary>[tokens] the place of each in its record.</summary>
    public nint Positions => Part(2);

    /// <summary>[tokens] tokens, the smallest id first.</summary>
    public nint Order => Part(3);

    /// <summary>[distinct] the ids that occur.</summary>
    public nint Ids => Part(4);

    /// <summary>[distinct + 1] where in <see cref="Order"/> each id's tokens begin.</summary>
    public nint Starts => Part(5);

    /// <summary>How many ids occur.</summary>
    public nint Distinct => Part(7) + (2 * sizeof(int));

    /// <summary>The most ids that can occur.</summary>
    public int MostDistinct { get; }

    /// <summary>[2] the factors of a token's gradient and of its measured losses; single precision.</summary>
    public nint Scales => Part(7) + (3 * sizeof(int));

    /// <summary>Makes it a batch of zeros, without any id whose embedding gets a gradient.</summary>
    public void Clear(nint stream) => CudaDevice.Clear(_buffer.Address, _buffer.Bytes, stream);

    /// <summary>Sends a micro-batch; nothing waits.</summary>
    /// <param name="inputs">[tokens] ids.</param>
    /// <param name="targets">[tokens] the id after each.</param>
    /// <param name="positions">[tokens] places in records, 0 at each record's beginning; null where every sequence is one record.</param>
    /// <param name="paddingId">The id whose embedding gets no gradient from look-ups.</param>
    /// <param name="gradientScale">The factor of a token's gradient.</param>
    /// <param name="measuredScale">The factor of its measured losses.</param>
    /// <param name="stream">The stream.</param>
    /// <returns>The records, where sequences hold several; their tensor belongs to the caller's scope.</returns>
    public PackedRecords? Send(ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int[]? positions, int? paddingId, float gradientScale, float measuredScale, nint stream)
    {
        _order.Sort(inputs, paddingId);
        ImmutableArray<Segment> segments = positions is null ? [] : SequenceLayout.SegmentsOf(positions, _length);
        Fill(_staging.Next(), _length, inputs, targets, positions, segments, _order, gradientScale, measuredScale);
        _staging.Send(_buffer.Address, stream);
        return positions is null ? null : new PackedRecords(segments, _buffer.Tensor.narrow(0, (6 * _tokens) + 1, segments.Length + 1), segments.Max(segment => segment.Length));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _staging.Dispose();
        _buffer.Dispose();
    }

    internal static int CountOf(int tokens) => (7 * tokens) + 5;

    // Seven parts of a row of tokens each, the last two with one number more; then how many ids occur and the two factors.
    internal static void Fill(
        Span<int> all, int length, ReadOnlySpan<int> inputs, ReadOnlySpan<int> targets, int[]? positions, ImmutableArray<Segment> segments, EmbeddingOrder order, float gradientScale, float measuredScale)
    {
        int tokens = inputs.Length;
        inputs.CopyTo(all);
        targets.CopyTo(all[tokens..]);
        Span<int> places = all.Slice(2 * tokens, tokens);
        for (int token = 0; token < tokens; token++)
        {
            places[token] = positions is null ? token % length : positions[token];
        }

        order.Order.CopyTo(all[(3 * tokens)..]);
        order.Ids.CopyTo(all[(4 * tokens)..]);
        order.Starts.CopyTo(all[(5 * tokens)..]);
        Span<int> records = all[((6 * tokens) + 1)..];
        for (int i = 0; i < segments.Length; i++)
        {
            records[i] = (segments[i].Row * length) + segments[i].Start;
        }

        records[segments.Length] = tokens;
        all[(7 * tokens) + 2] = order.Distinct;
        all[(7 * tokens) + 3] = BitConverter.SingleToInt32Bits(gradientScale);
        all[(7 * tokens) + 4] = BitConverter.SingleToInt32Bits(measuredScale);
    }

    nint Part(int number) => _buffer.Address + (number * _tokens * sizeof(int));
}
