using OpenElm.Cuda;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Cuda;

/// <summary>Steps that choose for themselves: each takes what the one before has chosen, on the device, and the host reads along, a few steps behind.</summary>
internal sealed class DeviceTokenChain : TokenChain
{
    const int Ahead = 4;

    readonly CudaBackend _backend;
    readonly DeviceCache _cache;
    readonly TokenDraw? _draw;
    readonly DeviceMemory _state = new(2 * sizeof(int));
    readonly MappedMemory<int> _chosen = new(2 * Ahead);
    readonly CudaEvent[] _done = [.. Enumerable.Range(0, Ahead).Select(_ => new CudaEvent())];
    readonly int _token, _position, _candidates;
    int _launched, _taken;

    public DeviceTokenChain(CudaBackend backend, DeviceCache cache, int token, int position, int candidates, DrawRule? rule)
    {
        (_backend, _cache, _token, _position, _candidates) = (backend, cache, token, position, candidates);
        _draw = rule is null ? null : backend.CreateDraw(rule, candidates, Ahead);
    }

    /// <inheritdoc/>
    public override int Next(out float logit)
    {
        for (; _launched - _taken < Ahead && _position + _launched < _cache.Capacity; _launched++)
        {
            int place = _launched % Ahead;
            _draw?.Prepare(place);
            _backend.Launch(_cache, _launched == 0 ? _token : -1, _position + _launched, new StepChoice(_state.Address, _chosen.Address, place, _candidates, 0, 0), _draw, _done[place]);
        }

        if (_taken == _launched)
        {
            throw new InvalidOperationException($"The sequence is full: its cache holds {_cache.Capacity} positions.");
        }

        int at = _taken++ % Ahead;
        _done[at].Synchronize();
        logit = BitConverter.Int32BitsToSingle(_chosen.Values[(2 * at) + 1]);
        return _chosen.Values[2 * at];
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _backend.Synchronize();
        Array.ForEach(_done, mark => mark.Dispose());
        _draw?.Dispose();
        _chosen.Dispose();
        _state.Dispose();
    }
}

/// <summary>The same where there is no kernel of a step: passes of one row.</summary>
internal sealed class DeviceRowChain(CudaBackend backend, DeviceRow row, int candidates, DrawRule? rule) : TokenChain
{
    readonly DeviceBatchChain _rows = new(backend, [row], candidates, rule);

    /// <inheritdoc/>
    public override int Next(out float logit)
    {
        int token = 0;
        _rows.Next(new Span<int>(ref token));
        logit = _rows.LogitOf(0);
        return token;
    }

    /// <inheritdoc/>
    public override void Dispose() => _rows.Dispose();
}
