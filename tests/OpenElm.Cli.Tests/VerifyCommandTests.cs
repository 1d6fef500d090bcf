using System.Text.Json;
using OpenElm.Inference;
using OpenElm.Inference.Cuda;

namespace OpenElm.Cli.Tests;

public sealed class VerifyCommandTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Every_file_passes_or_does_not_apply_on_both_runtimes_and_every_kernel_set()
    {
        (int code, string output, string error) = Openelm.Run("verify", RepositoryFiles.Golden, "--json");
        Assert.True(code == 0, output + error);
        JsonElement document = JsonDocument.Parse(output).RootElement;
        var rows = document.GetProperty("files").EnumerateArray().Select(row =>
            (Runtime: row.GetProperty("runtime").GetString()!, File: row.GetProperty("file").GetString()!, Status: row.GetProperty("status").GetString()!)).ToArray();
        Assert.All(rows, row =>
        {
            bool applies = row.File.StartsWith("model-", StringComparison.Ordinal)
                || row.File.StartsWith("adapters-", StringComparison.Ordinal)
                || row.File.StartsWith(row.Runtime == "training (cpu)" ? "train-" : "sampling-", StringComparison.Ordinal);
            Assert.Equal(applies ? "passed" : "not_applicable", row.Status);
        });
        Assert.Equal((1 + OpenElmModel.AvailableKernels.Length) * Directory.GetFiles(RepositoryFiles.Golden, "*.safetensors").Length, rows.Length);
        Assert.Equal(0, document.GetProperty("failed").GetInt32());
    }

    [Fact]
    public void A_changed_file_exits_with_1_and_is_named()
    {
        File.Copy(Path.Combine(RepositoryFiles.Golden, "golden.json"), _folder["golden.json"]);
        byte[] bytes = File.ReadAllBytes(Path.Combine(RepositoryFiles.Golden, "model-no-glu.safetensors"));
        bytes[^2] ^= 0x40; // an element of the embedding, the last tensor of the file
        File.WriteAllBytes(_folder["model-no-glu.safetensors"], bytes);
        (int code, string output, _) = Openelm.Run("verify", _folder.Path, "--runtime", "inference");
        Assert.Equal(1, code);
        Assert.Contains("FAILED", output);
        Assert.All(OpenElmModel.AvailableKernels, kernels => Assert.Contains($"model-no-glu on inference (cpu, {kernels}): logits is off by", output));
        Assert.EndsWith($"0 passed, {OpenElmModel.AvailableKernels.Length} failed, 0 not applicable" + Environment.NewLine, output);
    }

    [Fact]
    public void The_table_has_a_row_a_file_and_kernel_set()
    {
        (int code, string output, _) = Openelm.Run("verify", RepositoryFiles.Golden, "--runtime", "inference");
        Assert.Equal(0, code);
        Assert.All(Directory.GetFiles(RepositoryFiles.Golden, "*.safetensors"), file =>
            Assert.Equal(OpenElmModel.AvailableKernels.Length, output.Split(Environment.NewLine).Count(line => line.Contains(' ' + Path.GetFileNameWithoutExtension(file) + ' '))));
        Assert.Contains("2.0e-05", output);
    }

    [Fact]
    public void Inference_is_verified_on_a_gpu_or_refused_with_the_reason()
    {
        (int code, string output, string error) = Openelm.Run("verify", RepositoryFiles.Golden, "--runtime", "inference", "--device", "cuda");
        if (CudaInferenceDevice.TryOpen(CudaPrecision.Fp32, out string? reason) is { } device)
        {
            Assert.Equal(0, code);
            Assert.Contains($"inference ({device.Name}, token by token)", output);
            return;
        }

        Assert.Equal((2, ""), (code, output));
        Assert.Contains($"Inference cannot be verified on --device cuda: {reason}", error);
    }

    [Fact]
    public void Wrong_requests_exit_with_2()
    {
        Assert.Equal(2, Openelm.Run("verify", _folder.Path).Code);
        File.Copy(Path.Combine(RepositoryFiles.Golden, "golden.json"), _folder["golden.json"]);
        File.Copy(Path.Combine(RepositoryFiles.Golden, "train-openelm-micro.safetensors"), _folder["train-openelm-micro.safetensors"]);
        (int code, _, string error) = Openelm.Run("verify", _folder.Path, "--runtime", "inference");
        Assert.Equal(2, code);
        Assert.Contains("nothing was compared", error);
        (code, _, error) = Openelm.Run("verify", RepositoryFiles.Golden, "--model", "samples/stories260k");
        Assert.Equal(2, code);
        Assert.Contains("--model compares inference on a GPU with the processor's: give it with --device cuda", error);
    }
}
