using OpenElm.Training;
using OpenElm.Training.Objectives;

namespace OpenElm.Cli;

/// <summary>What the training verbs print: a plan, or the outcome of a run.</summary>
internal static class TrainingText
{
    /// <summary>Prints memory and time.</summary>
    /// <param name="context">Where.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="flopsPerSecond">What matrix products reach on the device; null where it is not there to be measured.</param>
    public static void Print(CommandContext context, TrainingPlan plan, double? flopsPerSecond)
    {
        TimeSpan? time = flopsPerSecond is { } rate ? plan.Time(rate) : null;
        if (context.IsJson)
        {
            context.WriteJson(new { Plan = plan, Ranks = OnRanks(plan).Select(row => new { row.Ranks, row.Sharding, row.Bytes }), FlopsPerSecond = flopsPerSecond, TrainingPlan.ExpectedUtilisation, Seconds = time?.TotalSeconds });
            return;
        }

        foreach ((string name, long bytes) in new[]
        {
            ("weights", plan.WeightBytes), ("gradients", plan.GradientBytes), ("optimizer", plan.OptimizerBytes),
            ("activations", plan.ActivationBytes), ("loss", plan.LossBytes), ("allocator", plan.AllocatorBytes), ("the program", plan.ProgramBytes), ("memory in all", plan.TotalBytes), ("one checkpoint", plan.CheckpointBytes),
        })
        {
            context.Output.WriteLine($"{name,-16} {Quantity.Bytes(bytes),12}");
        }

        foreach (var group in OnRanks(plan).GroupBy(row => row.Ranks))
        {
            context.Output.WriteLine($"{$"on each of {group.Key}",-16} {string.Join(", ", group.Select(row => $"{Quantity.Bytes(row.Bytes)} sharding {row.Sharding.ToString().ToLowerInvariant()}"))}");
        }

        context.Output.WriteLine($"{"parameters",-16} {plan.Parameters,12:n0}");
        context.Output.WriteLine($"{"of them trained",-16} {plan.TrainedParameters,12:n0}");
        context.Output.WriteLine($"{"tokens",-16} {plan.Tokens,12:n0}");
        context.Output.WriteLine(time is null
            ? $"{"time",-16} {"not known",12}: the device is not on this machine"
            : $"{"time",-16} {time.Value.TotalHours,12:n2} hours at {TrainingPlan.ExpectedUtilisation:p0} of the {flopsPerSecond / 1e9:n0} Gflop/s that matrix products reach here");
    }

    static readonly int[] PlannedRanks = [2, 8, 128];

    // What each rank would need, for numbers that divide any update of a power of two.
    static IEnumerable<(int Ranks, Sharding Sharding, long Bytes)> OnRanks(TrainingPlan plan) =>
        from ranks in PlannedRanks
        from sharding in Enum.GetValues<Sharding>()
        let bytes = plan.BytesOnRank(sharding, ranks)
        where bytes is not null
        select (ranks, sharding, bytes.Value);

    /// <summary>Prints losses, speed and where the results lie.</summary>
    public static void Print(CommandContext context, RunResult result)
    {
        if (context.IsJson)
        {
            context.WriteJson(result);
            return;
        }

        TextWriter output = context.Output;
        foreach (TextSample sample in result.Samples)
        {
            output.WriteLine($"\n> {sample.Prompt}{sample.Continuation}");
        }

        output.WriteLine();
        WriteIfKnown("training loss", double.IsNaN(result.TrainingLoss) ? null : result.TrainingLoss); // resumed behind the last update
        WriteIfKnown("validation loss", result.ValidationLoss);
        WriteIfKnown("  of the average", result.AverageValidationLoss);
        WriteIfKnown("  of a bigram model", result.BigramLoss);
        WriteIfKnown("bits per byte", result.BitsPerByte);
        foreach ((string name, double value) in result.ValidationMeasured.Where(entry => entry.Key != PreferenceObjective.RewardAccuracy))
        {
            WriteIfKnown(name.Replace('_', ' '), value);
        }

        if (result.RewardAccuracy is { } accuracy)
        {
            output.WriteLine($"reward accuracy          {accuracy}");
        }

        output.WriteLine($"tokens trained on        {result.TokensSeen:n0}");
        if (result.TokensPerSecond > 0)
        {
            output.WriteLine($"tokens a second          {result.TokensPerSecond:n0}");
            output.WriteLine($"wait for data            {result.DataWaitShare:p2}");
        }

        output.WriteLine($"model                    {result.Model}");
        if (result.Adapter is { } adapter)
        {
            output.WriteLine($"adapter                  {adapter}");
        }

        output.WriteLine($"report                   {new RunFolder(result.Output).ReportFile}");

        void WriteIfKnown(string name, double? value)
        {
            if (value is { } known)
            {
                output.WriteLine($"{name,-24} {known:f4}");
            }
        }
    }
}
