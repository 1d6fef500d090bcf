namespace OpenElm.Verification.Golden;

/// <summary>
/// One of our runtimes as the golden suite sees it: numbers in, numbers out, no comparison. A runtime answers null where a
/// question does not apply to it (a training trajectory on the inference runtime); the suite lists such files as not
/// applicable. What it does answer is compared with the reference by <see cref="GoldenSuite"/>.
/// </summary>
public interface IGoldenRuntime : IDisposable
{
    /// <summary>The runtime and the device, as the report names them, for example <c>training (cpu)</c>.</summary>
    string Name { get; }

    /// <summary>Runs a <c>model-*</c> file in float32: one forward pass over the batch, and what follows from it.</summary>
    /// <param name="model">The architecture, the weights and the inputs.</param>
    /// <returns>Logits, and losses and gradients where the runtime has them; null if it cannot run models.</returns>
    GoldenModelOutput? RunModel(GoldenModel model) => null;

    /// <summary>Runs a <c>train-*</c> file: every update from the initial weights.</summary>
    /// <param name="training">Initial weights, inputs and settings.</param>
    /// <returns>What each update gave and the final weights; null if the runtime does not train.</returns>
    GoldenTrajectoryOutput? RunTrajectory(GoldenTrajectory training) => null;

    /// <summary>Runs a <c>sampling-*</c> file.</summary>
    /// <param name="sampling">Logits, the ids so far, and the processors to apply.</param>
    /// <returns>[processors] rows of changed logits, [batch, vocab] each; null if the runtime does not sample.</returns>
    IReadOnlyList<float[]>? RunSampling(GoldenSampling sampling) => null;

    /// <summary>Runs one kind of adapter of an <c>adapters-*</c> file.</summary>
    /// <param name="adapter">The layer, its adapter, and inputs.</param>
    /// <returns>Output, merged weight, and gradients where the runtime has them; null if it has no adapters.</returns>
    GoldenAdapterOutput? RunAdapter(GoldenAdapter adapter) => null;
}
