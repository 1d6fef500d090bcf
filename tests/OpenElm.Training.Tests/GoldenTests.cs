using OpenElm.Verification.Golden;

namespace OpenElm.Training.Tests;

public sealed class GoldenTests
{
    public static TheoryData<string, KernelChoice, bool> Cases
    {
        get
        {
            var cases = new TheoryData<string, KernelChoice, bool>();
            foreach (string file in GoldenSuite.Discover(RepositoryFiles.Golden).Where(name => name.StartsWith("model-", StringComparison.Ordinal) || name.StartsWith("train-", StringComparison.Ordinal) || name.StartsWith("adapters-", StringComparison.Ordinal)))
            {
                foreach (KernelChoice kernels in new[] { KernelChoice.Reference, KernelChoice.Torch, KernelChoice.Fused })
                {
                    cases.Add(file, kernels, false);
                }

                cases.Add(file, KernelChoice.Auto, true);
            }

            return cases;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Agrees_with_the_reference(string file, KernelChoice kernels, bool checkpointing)
    {
        using var runtime = new TrainingGoldenRuntime(new ModuleOptions { Kernels = kernels, ActivationCheckpointing = checkpointing });

        GoldenResult result = GoldenSuite.RunFile(RepositoryFiles.Golden, file, runtime);

        Assert.True(result.Status == GoldenStatus.Passed, string.Join("\n", result.Checks.Where(check => !check.Passed)));
        Assert.Contains(result.Checks, check => check.Name.Contains(file.Split('-')[0] switch { "model" => "grads.", "adapters" => "grad.", _ => "final." }));
    }
}
