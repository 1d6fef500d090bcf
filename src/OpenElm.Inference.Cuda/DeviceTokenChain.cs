using OpenElm.Cuda;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Cuda;

/// <summary>Steps that choose for themselves: each takes what the one before has chosen, on the device, and the host reads along, a few steps behind.</summary>
internal sealed class DeviceTokenChain : TokenChain
{
    const int Ahead = 4, StepsOfLaunch = 4; // launches; steps that one without a draw has

    readonly CudaBackend _backend;
    readonly DeviceCache _cache;
    readonly TokenDraw? _draw;
    readonly DeviceMemory _state = new(2 * sizeof(int));
    readonly MappedMemory<int> _chosen;
    readonly CudaEvent[] _done = [.. Enumerable.Range(0, Ahead).Select(_ => new CudaEvent())];
    readonly int _token, _position, _candidates, _each;
    int _launched, _taken; // steps

    public DeviceTokenChain(CudaBackend backend, DeviceCache cache, int token, int position, int candidates, DrawRule? rule)
    {
        (_backend, _cache, _token, _position, _candidates) = (backend, cache, token, position, candidates);
        _draw = rule is null ? null : backend.CreateDraw(rule, candidates, Ahead);
        _each = rule is null ? StepsOfLaunch : 1;
        _chosen = new MappedMemory<int>(2 * Ahead * _each);
    }

    /// <inheritdoc/>
    public override int Next(out float logit)
    {
        while (_launched / _each < (_taken / _each) + Ahead && _position + _launched < _cache.Capacity)
        {
            int launch = _launched / _each % Ahead, steps = Math.Min(_each, _cache.Capacity - _position - _launched);
            _draw?.Prepare(launch);
            _backend.Launch(_cache, _launched == 0 ? _token : -1, _position + _launched, steps, new StepChoice(_state.Address, _chosen.Address, launch * _each, _candidates, 0, 0), _draw, _done[launch]);
            _launched += steps;
        }

        if (_taken == _launched)
        {
            throw new InvalidOperationException($"The sequence is full: its cache holds {_cache.Capacity} positions.");
        }

        int at = _taken++ % (Ahead * _each);
        _done[at / _each].Synchronize();
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
