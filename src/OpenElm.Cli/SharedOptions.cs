using System.CommandLine;
using OpenElm.Training.Torch;

namespace OpenElm.Cli;

/// <summary>Options that several verbs take, said once.</summary>
internal static class SharedOptions
{
    /// <summary>Where the training runtime computes.</summary>
    public static Option<string> Device()
    {
        var option = new Option<string>("--device") { Description = "cpu, cuda, or cuda:N", DefaultValueFactory = _ => "cpu" };
        option.Validators.Add(result =>
        {
            string value = result.GetValueOrDefault<string>();
            if (value is not ("cpu" or "cuda") && !(value.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(value.AsSpan(5), out int index) && index >= 0))
            {
                result.AddError($"--device is '{value}'; it must be cpu, cuda, or cuda:N.");
            }
        });
        return option;
    }

    /// <summary>Which libtorch the training runtime uses.</summary>
    public static Option<string?> TorchFolder() => new("--torch")
    {
        Description = $"Folder of another libtorch, for example a CUDA build or a PyTorch's torch/lib (default: {TorchOptions.FolderVariable}, then the program's own)",
    };
}
