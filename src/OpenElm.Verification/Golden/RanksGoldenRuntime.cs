using OpenElm.Checkpoints;
using OpenElm.Data;
using OpenElm.Distributed;
using OpenElm.Training;
using OpenElm.Training.Objectives;

namespace OpenElm.Verification.Golden;

/// <summary>
/// The trainer over the ranks of a job: whole trajectories, whose micro-batches (or their sequences, where there are more ranks than micro-batches) the ranks share as in every run. The final weights
/// are those of a checkpoint. All ranks ask it the same questions; the first one's answers count, the others answer that nothing applies.
/// </summary>
/// <param name="group">The ranks.</param>
/// <param name="sharding">What is divided among them.</param>
/// <param name="device">Where this rank computes.</param>
public sealed class RanksGoldenRuntime(IProcessGroup group, Sharding sharding, string device) : IGoldenRuntime
{
    /// <inheritdoc/>
    public string Name => $"training ({group.Size} x {device.Split(':')[0]}, {sharding.ToString().ToLowerInvariant()})";

    /// <inheritdoc/>
    public GoldenTrajectoryOutput? RunTrajectory(GoldenTrajectory training)
    {
        ArgumentNullException.ThrowIfNull(training);
        GoldenTrainingSettings settings = training.Settings;
        (int updates, int micros, int sequences, int length) = ((int)training.InputIds.Shape[0], (int)training.InputIds.Shape[1], (int)training.InputIds.Shape[2], (int)training.InputIds.Shape[3]);
        var run = new RunConfig
        {
            Output = "verification",
            Model = new ModelConfig(),
            Tokenizer = new TokenizerConfig(),
            Data = new DataConfig { Sources = [] },
            Loss = new LossConfig { ZLoss = settings.ZLossFactor },
            Optimizer = new OptimizerConfig { Beta1 = settings.Beta1, Beta2 = settings.Beta2, Epsilon = settings.Eps, WeightDecay = settings.WeightDecay },
            Schedule = new ScheduleConfig
            {
                MaxLearningRate = settings.MaxLr,
                MinLearningRate = settings.MinLr,
                WarmupInitLearningRate = settings.WarmupInitLr,
                WarmupIterations = settings.WarmupIterations,
                MaxIterations = settings.MaxIterations,
                Decimals = null,
            },
            Trainer = new TrainerConfig
            {
                Steps = updates,
                MicroBatch = sequences,
                Accumulation = micros,
                AccumulationReduction = AccumulationReduction.Mean,
                ClipGradNorm = settings.ClipGradNorm,
                ActivationCheckpointing = sharding == Sharding.Parameters,
            },
            Distributed = new DistributedConfig { Sharding = sharding },
        };
        OpenElmModule module = TrainingGoldenRuntime.CreateModule(training.Config, training.InitialWeights, run.Trainer.ModuleOptions(device));
        string folder = group.Broadcast(group.Rank == 0 ? Directory.CreateTempSubdirectory("openelm-verify").FullName : "");
        try
        {
            using var trainer = new Trainer<TokenBatch>(run, module, new CausalLMObjective(run.Loss, TokenBatch.IgnoredTarget), new ModelFiles(new ModelContent(training.Config, [])), group);
            GoldenStep[] steps = [.. Enumerable.Range(0, updates).Select(update =>
            {
                using StepResult step = trainer.MakeUpdate(
                    [.. Enumerable.Range(0, trainer.Share.Passes).Select(pass => Batch((update * micros) + (pass * trainer.Share.Slice.World) + trainer.Share.Slice.Rank))]);
                float[] parts = group.AllGather<float>([step.Measured[0].item<float>(), step.Measured[1].item<float>()]);
                return new GoldenStep(parts.Where((_, i) => i % 2 == 0).Sum(), parts.Where((_, i) => i % 2 == 1).Sum(), step.GradientNorm.item<float>(), step.LearningRate);
            })];
            string path = trainer.Save(Path.Combine(folder, "final"), OutsideRun.State).Path;
            if (group.Rank > 0)
            {
                return null;
            }

            using ModelFolder final = ModelFolder.Open(path);
            return new GoldenTrajectoryOutput(steps, final.Weights.ToDictionary(tensor => tensor.Key, tensor => tensor.Value.ToFloats()));
        }
        finally
        {
            if (group.Rank == 0)
            {
                Directory.Delete(folder, recursive: true);
            }
        }

        // The last position of a sequence has no target.
        TokenBatch Batch(int number)
        {
            int[] ids = [.. training.InputIds.Values.AsSpan(number * sequences * length, sequences * length).ToArray().Select(id => (int)id)];
            return new TokenBatch(ids, [.. ids.Select((_, i) => (i + 1) % length == 0 ? TokenBatch.IgnoredTarget : ids[i + 1])], sequences, length, number, "golden");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
