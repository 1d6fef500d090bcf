namespace OpenElm.Inference;

/// <summary>One kind of phase of a step, or of a prompt's pass.</summary>
/// <param name="Name">What it computes.</param>
/// <param name="Count">How often, mostly once a layer.</param>
/// <param name="Microseconds">Of work, of all of them.</param>
/// <param name="Waiting">Microseconds before it, for what others compute.</param>
public sealed record StepPhase(string Name, int Count, double Microseconds, double Waiting);
