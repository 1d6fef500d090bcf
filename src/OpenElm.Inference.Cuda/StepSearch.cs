using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>Finds the variant of a step that is the fastest for a model on a card, by timing. Once: the choice is kept with those of matrix products.</summary>
internal sealed class StepSearch : IDisposable
{
    /// <summary>Bytes that a token reads, from which on it is worth the compiling of all variants.</summary>
    public const long Smallest = 128L << 20;

    const int Past = 1024, Steps = 4; // positions before those of a launch

    readonly IReadOnlyList<StepLayout> _layouts;
    readonly Action<StepLayout> _compile;
    readonly Func<StepLayout, TokenStep> _create;
    readonly nint _stream;
    readonly int _capacity;
    readonly long _pastBytes;
    readonly StepChoice _choice;
    readonly MappedMemory<int> _chosen = new(2 * Steps);
    readonly TokenStep?[] _steps;
    DeviceMemory? _past; // where something is timed

    /// <summary>Prepares a search; nothing is compiled yet.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layouts">The variants' layouts.</param>
    /// <param name="compile">Compiles one.</param>
    /// <param name="create">Makes a step of what is compiled.</param>
    /// <param name="cacheType">Of the cache.</param>
    /// <param name="choice">Where a step's choice goes, without its place on the host.</param>
    /// <param name="stream">Where steps go.</param>
    public StepSearch(OpenElmConfig config, IReadOnlyList<StepLayout> layouts, Action<StepLayout> compile, Func<StepLayout, TokenStep> create, KvCacheType cacheType, StepChoice choice, nint stream)
    {
        (_layouts, _compile, _create, _stream) = (layouts, compile, create, stream);
        _capacity = Math.Min(Past, config.MaxContextLength - Steps) + Steps;
        (int planes, long planeBytes, _) = DeviceCache.Planes(config, _capacity, cacheType);
        _pastBytes = planes * planeBytes;
        _choice = choice with { Host = _chosen.Address };
        _steps = new TokenStep?[layouts.Count];
    }

    /// <summary>Finds the fastest: compiles the step of every variant and times them, if the choice is not known.</summary>
    /// <param name="name">What identifies the model among those of the card.</param>
    /// <param name="pass">Whose products' choices are kept.</param>
    /// <returns>Its step, which is the caller's.</returns>
    public TokenStep Fastest(string name, RowPass pass)
    {
        int fastest = pass.FastestOf(name, [.. Enumerable.Range(0, _layouts.Count).Select(i => (Action)(() => Rehearse(i)))]);
        TokenStep step = StepOf(fastest);
        _steps[fastest] = null;
        return step;
    }

    public void Dispose()
    {
        CudaDevice.Synchronize(_stream);
        Array.ForEach(_steps, step => step?.Dispose());
        _past?.Dispose();
        _chosen.Dispose();
    }

    void Rehearse(int number)
    {
        if (_past is null)
        {
            CompileAll();
            _past = new DeviceMemory(_pastBytes);
            CudaDevice.Clear(_past.Address, _past.Bytes, _stream);
        }

        StepOf(number).Rehearse(_past, _capacity, Steps, _choice);
    }

    void CompileAll()
    {
        try
        {
            _ = Parallel.ForEach(_layouts, _compile);
        }
        catch (AggregateException e) when (e.InnerException is CudaException first)
        {
            throw new CudaException(first.Message, first);
        }
    }

    TokenStep StepOf(int number) => _steps[number] ??= _create(_layouts[number]);
}
