using OpenElm.Cuda;
using OpenElm.Inference.Sampling;

namespace OpenElm.Inference.Cuda;

/// <summary>Draws tokens on the device as the processor's sampler does, with its random numbers (<c>draw.cu</c>).</summary>
internal sealed class TokenDraw : IDisposable
{
    const int Threads = 1024;

    readonly DrawRule _rule;
    readonly Kernel _kernel;
    readonly DeviceMemory _weights;
    readonly MappedMemory<double> _uniforms;
    readonly int _candidates, _places;

    /// <param name="module">Of <c>draw.cu</c>.</param>
    /// <param name="rule">How to draw.</param>
    /// <param name="candidates">Ids below this may be drawn.</param>
    /// <param name="places">Steps that may be on their way.</param>
    public TokenDraw(KernelModule module, DrawRule rule, int candidates, int places)
    {
        (_rule, _kernel, _candidates, _places) = (rule, module["draw"], candidates, places);
        (_weights, _uniforms) = (new DeviceMemory(candidates * sizeof(float)), new MappedMemory<double>(places));
    }

    /// <summary>Takes the random number of a step; the step that had the place is done.</summary>
    /// <param name="place">The place.</param>
    public void Prepare(int place) => _uniforms.Values[place] = _rule.Random.NextDouble();

    /// <summary>Puts a draw into a stream.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="logits">[vocab].</param>
    /// <param name="state">Token and position of the step to come, or a row of a pass, which counts its own steps.</param>
    /// <param name="isRow">Which of them.</param>
    /// <param name="chosen">On the host: [places][token, bits of the largest logit].</param>
    /// <param name="place">The place there and of the random number, if no row says it.</param>
    public void Launch(nint stream, nint logits, nint state, bool isRow, nint chosen, int place) => _kernel.Launch(
        stream, (1, 1), Threads, logits, _candidates, _rule.Temperature, _rule.TopK, _rule.Dropped, _rule.MinP, _weights.Address, _uniforms.Address, state, isRow, chosen, place, _places);

    public void Dispose()
    {
        _weights.Dispose();
        _uniforms.Dispose();
    }
}
