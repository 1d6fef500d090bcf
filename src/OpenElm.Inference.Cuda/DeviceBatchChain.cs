using OpenElm.Cuda;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Cuda;

/// <summary>Steps of several sequences side by side, or of one: one graph a step, whose rows take what the step before has chosen; the host reads along, a few steps behind.</summary>
internal sealed class DeviceBatchChain : BatchChain
{
    const int Ahead = 4;

    readonly CudaBackend _backend;
    readonly DeviceMemory _rows;
    readonly TokenDraw? _draw;
    readonly MappedMemory<int> _chosen;
    readonly CudaEvent[] _done = [.. Enumerable.Range(0, Ahead).Select(_ => new CudaEvent())];
    readonly int _count, _candidates, _splits, _steps;
    CudaGraph? _step;
    int _launched, _taken, _moves;

    /// <param name="backend">Whose passes it takes.</param>
    /// <param name="rows">What to feed first.</param>
    /// <param name="candidates">Ids below this may be chosen.</param>
    /// <param name="rule">How a single row's token is drawn; null takes the most likely.</param>
    public DeviceBatchChain(CudaBackend backend, DeviceRow[] rows, int candidates, DrawRule? rule = null)
    {
        _draw = rule is null ? null : backend.CreateDraw(rule, candidates, Ahead);
        (_backend, _count, _candidates) = (backend, rows.Length, candidates);
        (_splits, _steps) = (RowPass.Splits(rows), rows.Min(row => row.Capacity - row.Position));
        _rows = new DeviceMemory((long)rows.Length * System.Runtime.InteropServices.Marshal.SizeOf<DeviceRow>());
        _chosen = new MappedMemory<int>(2 * Ahead * rows.Length);
        backend.Send(rows, _rows.Address);
    }

    /// <inheritdoc/>
    public override void Next(Span<int> tokens)
    {
        for (; _launched - _taken < Ahead && _launched < _steps; _launched++)
        {
            _draw?.Prepare(_launched % Ahead);
            _backend.InStream((pass, stream, cos, sin) =>
            {
                if (_step is null || _moves != pass.Moves)
                {
                    _step?.Dispose();
                    _step = pass.RecordStep(_rows.Address, _count, _splits, cos, sin, _candidates, _draw, _chosen.Address, Ahead);
                    _moves = pass.Moves;
                }

                _step.Launch(stream);
                _done[_launched % Ahead].Record(stream.Handle);
            });
        }

        if (_taken == _launched)
        {
            throw new InvalidOperationException("A sequence is full.");
        }

        int at = _taken++ % Ahead;
        _done[at].Synchronize();
        for (int i = 0; i < _count; i++)
        {
            tokens[i] = _chosen.Values[2 * ((at * _count) + i)];
        }
    }

    /// <summary>The largest logit of a row in the step that was taken last.</summary>
    /// <param name="row">The row.</param>
    /// <returns>The logit.</returns>
    public float LogitOf(int row) => BitConverter.Int32BitsToSingle(_chosen.Values[(2 * (((_taken - 1) % Ahead * _count) + row)) + 1]);

    /// <inheritdoc/>
    public override void Dispose()
    {
        _backend.Synchronize();
        _draw?.Dispose();
        _step?.Dispose();
        Array.ForEach(_done, mark => mark.Dispose());
        _chosen.Dispose();
        _rows.Dispose();
    }
}
