namespace OpenElm.Training.Optimization;

/// <summary>
/// Linear warm-up, then a cosine down to a floor (section 4.3 of the reference). A pure function of the number of updates
/// done; the last update is the one with t = <see cref="MaxIterations"/>.
/// </summary>
/// <param name="Peak">The highest rate, reached after the warm-up.</param>
/// <param name="Floor">The rate at the end.</param>
/// <param name="WarmupIterations">Updates of the warm-up.</param>
/// <param name="MaxIterations">T: updates t = 0 … T are made.</param>
/// <param name="WarmupInit">The rate of the first update.</param>
public sealed record CosineSchedule(double Peak, double Floor, long WarmupIterations, long MaxIterations, double WarmupInit = 1e-6)
{
    /// <summary>Decimals that rates are rounded to, as the reference rounds them; null does not round.</summary>
    public int? Decimals { get; init; } = 8;

    /// <summary>The learning rate of an update.</summary>
    /// <param name="step">Updates done before it, from 0.</param>
    /// <returns>The rate.</returns>
    public double LearningRate(long step)
    {
        double rate = step < WarmupIterations
            ? WarmupInit + (step * ((Peak - WarmupInit) / WarmupIterations))
            : Floor + (0.5 * (Peak - Floor) * (1 + Math.Cos(Math.PI * (step - WarmupIterations) / (MaxIterations - WarmupIterations + 1))));
        return Decimals is { } decimals ? Math.Round(Math.Max(0, rate), decimals) : Math.Max(0, rate);
    }

    /// <summary>Adds one sentence for each impossible field.</summary>
    /// <param name="problems">The list to add to.</param>
    public void Validate(List<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        foreach ((string name, double rate) in new[] { ("maximum", Peak), ("minimum", Floor), ("initial", WarmupInit) })
        {
            if (!(rate >= 0) || !double.IsFinite(rate))
            {
                problems.Add($"the {name} learning rate is {rate}; it must be 0 or more");
            }
        }

        if (Floor > Peak)
        {
            problems.Add($"the minimum learning rate {Floor} is above the maximum {Peak}");
        }

        if (WarmupIterations < 0 || MaxIterations < WarmupIterations)
        {
            problems.Add($"a warm-up of {WarmupIterations} updates does not fit into {MaxIterations}");
        }
    }
}
