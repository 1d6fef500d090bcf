using OpenElm.Checkpoints;
using OpenElm.Quantization;
using OpenElm.Training.Kernels.Fused;
using OpenElm.Training.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace OpenElm.Training.Matrices;

/// <summary>
/// A frozen matrix in blocks of a few bits, as GGUF stores them (docs/quantization.md; QLoRA, arXiv 2305.14314). It becomes numbers while a product
/// is computed, and again in the backward pass.
/// </summary>
internal sealed class BlockedMatrix : Matrix, IDisposable
{
    const long RowGrain = 16, NumbersAtOnce = 1 << 22;

    readonly ModuleOptions _options;
    readonly NumbersBuffer _numbers;
    readonly Tensor _blocks; // [rows, bytes of a row], uint8

    /// <summary>Allocates a matrix; its blocks are undefined until <see cref="Load"/>.</summary>
    /// <param name="format">A block format that rows are whole blocks of.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="columns">Columns.</param>
    /// <param name="options">How the model computes.</param>
    /// <param name="numbers">Shared by the matrices of a model.</param>
    public BlockedMatrix(DType format, long rows, long columns, ModuleOptions options, NumbersBuffer numbers)
    {
        (Format, Rows, Columns, _options, _numbers) = (format, rows, columns, options, numbers);
        _blocks = empty([rows, format.ByteCount([columns])], ScalarType.Byte, TorchLibrary.Device(options.Device)).DetachFromDisposeScope();
    }

    /// <summary>How blocks are laid out.</summary>
    public DType Format { get; }

    /// <inheritdoc/>
    public override long Rows { get; }

    /// <summary>Inputs of the layer.</summary>
    public long Columns { get; }

    /// <inheritdoc/>
    public override Device Device => _blocks.device;

    /// <summary>Takes over a stored weight: blocks of this format as they are, everything else quantised, some rows at a time.</summary>
    /// <param name="weight">[rows, columns].</param>
    /// <exception cref="OpenElmException">A number is not finite or too large.</exception>
    public unsafe void Load(StoredWeight weight)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor host = Device.type == DeviceType.CPU ? _blocks : empty(_blocks.shape, ScalarType.Byte);
        using (var stream = new UnmanagedMemoryStream((byte*)Dispatcher.DataPointer(host), 0, host.numel(), FileAccess.Write))
        {
            weight.WriteAs(Format, stream);
        }

        if (!ReferenceEquals(host, _blocks))
        {
            _blocks.copy_(host);
        }
    }

    /// <inheritdoc/>
    public override Tensor Multiply(Tensor x) => FrozenProduct.apply(x, this);

    /// <inheritdoc/>
    public override Tensor Numbers(ScalarType type)
    {
        Tensor numbers = _numbers.Take(Rows, Columns);
        DequantizeInto(numbers, 0);
        return numbers;
    }

    /// <inheritdoc/>
    public override Tensor Floats(long first, long count)
    {
        Tensor floats = empty([count, Columns], ScalarType.Float32, Device);
        DequantizeInto(floats, first);
        return floats;
    }

    /// <inheritdoc/>
    public void Dispose() => _blocks.Dispose();

    void DequantizeInto(Tensor target, long first)
    {
        if (_options.UsesFusedKernels)
        {
            DequantizeRows(target, first);
            return;
        }

        long rows = Math.Max(1, NumbersAtOnce / Columns);
        for (long row = 0; row < target.size(0); row += rows)
        {
            using DisposeScope scope = NewDisposeScope();
            long count = Math.Min(rows, target.size(0) - row);
            target.narrow(0, row, count).copy_(BlockOperators.Dequantize(Format, _blocks.narrow(0, first + row, count)));
        }
    }

    unsafe void DequantizeRows(Tensor target, long first)
    {
        var rows = new FloatRows(target, Columns);
        (nint blocks, int bytes) = (Dispatcher.DataPointer(_blocks), checked((int)_blocks.size(1)));
        RowLoop.For(target.size(0), RowGrain, (begin, end) =>
        {
            float[] buffer = rows.Rounds ? RowBuffers.Take(0, Columns) : [];
            for (long row = begin; row < end; row++)
            {
                Span<float> floats = rows.Target(row, buffer);
                BlockFormats.Dequantize(Format, new ReadOnlySpan<byte>((byte*)blocks + ((first + row) * bytes), bytes), floats);
                rows.Write(row, floats);
            }
        });
    }
}
