using OpenElm.Inference;
using OpenElm.Verification.Golden;

namespace OpenElm.Parity.Tests;

/// <summary>Every golden file on every runtime, and proof that the comparison can fail.</summary>
public sealed class GoldenSuiteTests
{
    public static TheoryData<string, string> FilesAndKernels =>
        [.. from name in GoldenSuite.Discover(RepositoryFiles.Golden) from kernels in OpenElmModel.AvailableKernels select (name, kernels)];

    public static TheoryData<string> Models => [.. GoldenSuite.Discover(RepositoryFiles.Golden).Where(name => name.StartsWith("model-", StringComparison.Ordinal))];

    [Theory, MemberData(nameof(FilesAndKernels))]
    public void Inference_agrees_with_the_reference(string name, string kernels)
    {
        using var runtime = new InferenceGoldenRuntime(new InferenceOptions { Kernels = kernels });
        GoldenResult result = GoldenSuite.RunFile(RepositoryFiles.Golden, name, runtime);
        bool applies = name.StartsWith("model-", StringComparison.Ordinal) || name.StartsWith("sampling-", StringComparison.Ordinal) || name.StartsWith("adapters-", StringComparison.Ordinal);
        Assert.True(result.Status == (applies ? GoldenStatus.Passed : GoldenStatus.NotApplicable), result.ToString() + result.Worst);
        Assert.Equal(applies, result.Checks.Length > 0);
    }

    [Theory, MemberData(nameof(Models))]
    public void A_weight_changed_by_a_thousandth_fails(string name)
    {
        using var runtime = new InferenceGoldenRuntime();
        using var changed = new GoldenCopy(name);
        GoldenModel? seen = null;
        GoldenSuite.RunFile(RepositoryFiles.Golden, name, new Spy(model => seen = model));
        foreach ((string weight, GoldenTensor tensor) in seen!.Weights)
        {
            // A row of the embedding that the input reads; the middle of any other weight.
            long element = weight == "token_embeddings.weight" ? seen.InputIds.Values[0] * tensor.Shape[1] : tensor.Values.Length / 2;
            changed.Write($"weights.{weight}", element, 1e-3f);
            Assert.True(GoldenSuite.RunFile(changed.Folder, name, runtime).Status == GoldenStatus.Failed, $"A change of {weight}[{element}] went unnoticed.");
            changed.Restore();
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void An_expected_value_changed_by_a_thousandth_fails(string name)
    {
        using var runtime = new InferenceGoldenRuntime();
        using var changed = new GoldenCopy(name);
        foreach (string key in new[] { "logits", "loss.cross_entropy", "loss.z", "masked.cross_entropy", "masked.z" })
        {
            changed.Write(key, 0, 1e-3f);
            GoldenResult result = GoldenSuite.RunFile(changed.Folder, name, runtime);
            Assert.Equal(GoldenStatus.Failed, result.Status);
            Assert.Equal([key], result.Checks.Where(check => !check.Passed).Select(check => check.Name));
            changed.Restore();
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void An_expected_gradient_changed_by_a_thousandth_fails(string name)
    {
        using var training = new TrainingGoldenRuntime();
        GoldenModel? seen = null;
        GoldenSuite.RunFile(RepositoryFiles.Golden, name, new Spy(model => seen = model));
        using var once = new Recorded(training.RunModel(seen!)!);
        using var changed = new GoldenCopy(name);
        foreach ((string weight, GoldenTensor tensor) in seen!.Weights)
        {
            changed.Write($"grads.{weight}", tensor.Values.Length / 2, 1e-3f);
            GoldenResult result = GoldenSuite.RunFile(changed.Folder, name, once);
            Assert.Equal([$"grads.{weight}"], result.Checks.Where(check => !check.Passed).Select(check => check.Name));
            changed.Restore();
        }
    }

    [Theory, MemberData(nameof(Models))]
    public void A_weight_changed_by_a_thousandth_fails_on_the_training_runtime(string name)
    {
        using var runtime = new TrainingGoldenRuntime();
        using var changed = new GoldenCopy(name);
        changed.Write("weights.layers.0.attn.qkv_proj.weight", 5, 1e-3f);
        Assert.Equal(GoldenStatus.Failed, GoldenSuite.RunFile(changed.Folder, name, runtime).Status);
    }

    [Fact]
    public void An_expected_value_that_is_no_number_fails()
    {
        string name = GoldenSuite.Discover(RepositoryFiles.Golden).First(name => name.StartsWith("model-", StringComparison.Ordinal));
        using var runtime = new InferenceGoldenRuntime();
        using var changed = new GoldenCopy(name);
        changed.Write("logits", 0, float.NaN);
        Assert.Equal(GoldenStatus.Failed, GoldenSuite.RunFile(changed.Folder, name, runtime).Status);
    }

    [Fact]
    public void A_changed_processor_row_fails()
    {
        const string Name = "sampling-processors";
        using var runtime = new InferenceGoldenRuntime();
        using var changed = new GoldenCopy(Name);
        changed.Write("temperature_0.7", 7, 1e-3f);
        Assert.Equal(["temperature_0.7"], GoldenSuite.RunFile(changed.Folder, Name, runtime).Checks.Where(check => !check.Passed).Select(check => check.Name));
    }

    [Theory]
    [InlineData("lora.merged", "lora.merged")]
    [InlineData("dora.y", "dora.y")]
    [InlineData("dora.grad.magnitude", "dora.grad.magnitude")]
    [InlineData("lora.grad.A", "lora.grad.A")]
    [InlineData("dora.grad.x", "dora.grad.x")]
    public void An_expected_value_of_an_adapter_changed_by_a_hundredth_fails(string key, string check)
    {
        const string Name = "adapters-linear";
        using var runtime = new TrainingGoldenRuntime();
        Assert.Equal(GoldenStatus.Passed, GoldenSuite.RunFile(RepositoryFiles.Golden, Name, runtime).Status);
        using var changed = new GoldenCopy(Name);
        changed.Write(key, 7, 1e-2f);
        GoldenResult result = GoldenSuite.RunFile(changed.Folder, Name, runtime);
        Assert.Equal(GoldenStatus.Failed, result.Status);
        Assert.Contains(check, result.Checks.Where(one => !one.Passed).Select(one => one.Name));
    }

    [Fact]
    public void Wrong_folders_are_named()
    {
        using var empty = new TemporaryFolder();
        Assert.Contains("golden files", Assert.Throws<OpenElmException>(() => GoldenSuite.Discover(empty.Path)).Message);
        Assert.Contains("no folder", Assert.Throws<OpenElmException>(() => GoldenSuite.Discover(empty["missing"])).Message);
        File.Copy(Path.Combine(RepositoryFiles.Golden, "model-no-glu.safetensors"), empty["model-no-glu.safetensors"]);
        using var runtime = new InferenceGoldenRuntime();
        Assert.Contains("golden.json", Assert.Throws<OpenElmException>(() => GoldenSuite.RunFile(empty.Path, "model-no-glu", runtime)).Message);
        File.WriteAllText(empty["golden.json"], "{}");
        Assert.Contains("does not describe", Assert.Throws<OpenElmException>(() => GoldenSuite.RunFile(empty.Path, "model-no-glu", runtime)).Message);
        File.WriteAllText(empty["golden.json"], "{\"no-glu\": {\"kind\": \"model\", \"config\": {}}}");
        Assert.Contains("lacks something", Assert.Throws<OpenElmException>(() => GoldenSuite.RunFile(empty.Path, "model-no-glu", runtime)).Message);
    }

    /// <summary>Gives what another runtime gave: gradients are computed once and compared with many files.</summary>
    sealed class Recorded(GoldenModelOutput output) : IGoldenRuntime
    {
        public string Name => "recorded";

        public GoldenModelOutput? RunModel(GoldenModel model) => output;

        public void Dispose()
        {
        }
    }

    sealed class Spy(Action<GoldenModel> see) : IGoldenRuntime
    {
        public string Name => "spy";

        public GoldenModelOutput? RunModel(GoldenModel model)
        {
            see(model);
            return null;
        }

        public void Dispose()
        {
        }
    }
}
