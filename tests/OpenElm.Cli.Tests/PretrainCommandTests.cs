using System.Text.Json;
using OpenElm.Training.Torch;

namespace OpenElm.Cli.Tests;

public sealed class PretrainCommandTests
{
    [Fact]
    public void Memory_is_planned_for_a_gpu_that_is_elsewhere_and_time_is_not()
    {
        string config = Path.Combine(RepositoryFiles.Root, "configs", "training", "3b.yaml");
        (int code, string output, string error) = Openelm.Run("pretrain", config, "--device", "cuda", "--plan", "--json");
        Assert.Equal((0, ""), (code, error));
        using JsonDocument document = JsonDocument.Parse(output);
        Assert.InRange(document.RootElement.GetProperty("plan").GetProperty("total_bytes").GetInt64(), 50_000_000_000, 200_000_000_000);
        Assert.Equal(TorchLibrary.HasDevice("cuda") ? JsonValueKind.Number : JsonValueKind.Null, document.RootElement.GetProperty("seconds").ValueKind);
    }
}
