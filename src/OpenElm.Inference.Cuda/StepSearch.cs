using System.Collections.Immutable;
using OpenElm.Configuration;
using OpenElm.Cuda;

namespace OpenElm.Inference.Cuda;

/// <summary>Finds the variant of a step that is the fastest for a model on a card, by timing. Once: the choice is kept with those of matrix products.</summary>
internal static class StepSearch
{
    const int Past = 1024, Steps = 4; // positions before those of a launch

    /// <summary>Bytes that a token reads, from which on it is worth the compiling of all variants.</summary>
    public const long Smallest = 128L << 20;

    /// <summary>Compiles the step of every variant that the model has, if the choice is not known, and times them.</summary>
    /// <param name="layouts">The variants' layouts.</param>
    /// <param name="compile">Compiles one.</param>
    /// <param name="create">Makes a step of what is compiled.</param>
    /// <param name="config">The architecture.</param>
    /// <param name="cacheType">Of the cache.</param>
    /// <param name="name">What identifies the model among those of the card.</param>
    /// <param name="choice">Where a step's choice goes, without its place on the host.</param>
    /// <param name="pass">Whose products' choices are kept.</param>
    /// <param name="stream">Where steps go.</param>
    /// <returns>The number of the fastest, and its step.</returns>
    public static (int Number, TokenStep Step) Fastest(
        ImmutableArray<StepLayout> layouts, Action<StepLayout> compile, Func<StepLayout, TokenStep> create, OpenElmConfig config, KvCacheType cacheType, string name, StepChoice choice, RowPass pass, nint stream)
    {
        var steps = new TokenStep?[layouts.Length];
        try
        {
            int capacity = Math.Min(Past, config.MaxContextLength - Steps) + Steps;
            (int planes, long planeBytes, _) = DeviceCache.Planes(config, capacity, cacheType);
            using var chosen = new MappedMemory<int>(2 * Steps);
            DeviceMemory? past = null;
            try
            {
                int fastest = pass.FastestOf(name, [.. layouts.Select((_, i) => (Action)(() => Rehearse(i)))]);
                TokenStep step = StepOf(fastest);
                steps[fastest] = null; // the caller's
                return (fastest, step);
            }
            finally
            {
                CudaDevice.Synchronize(stream);
                past?.Dispose();
            }

            void Rehearse(int number)
            {
                if (past is null)
                {
                    CompileAll();
                    past = new DeviceMemory(planes * planeBytes);
                    CudaDevice.Clear(past.Address, past.Bytes, stream);
                }

                StepOf(number).Rehearse(past, capacity, Steps, choice with { Host = chosen.Address });
            }

            void CompileAll()
            {
                try
                {
                    _ = Parallel.ForEach(layouts, compile);
                }
                catch (AggregateException e) when (e.InnerException is CudaException first)
                {
                    throw new CudaException(first.Message, first);
                }
            }

            TokenStep StepOf(int number) => steps[number] ??= create(layouts[number]);
        }
        finally
        {
            Array.ForEach(steps, step => step?.Dispose());
        }
    }
}
