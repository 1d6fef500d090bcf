using OpenElm.Checkpoints;
using OpenElm.Checkpoints.Gguf;
using OpenElm.Configuration;
using OpenElm.Verification.Golden;

namespace OpenElm.Benchmarks.Formats;

/// <summary>Golden models written as GGUF by us and run by llama.cpp.</summary>
/// <param name="llama">llama.cpp.</param>
/// <param name="work">A folder for the files.</param>
internal sealed class LlamaCppGoldenRuntime(LlamaCpp llama, string work) : IGoldenRuntime
{
    public string Name => "llama.cpp on our GGUF";

    public GoldenModelOutput? RunModel(GoldenModel model)
    {
        string path = Path.Combine(work, "golden.gguf");
        try
        {
            GgufWriter.Write(path, new ModelContent(model.Config, [.. TensorShapes.Of(model.Config)
                .Select(shape => TensorSource.Of(shape.Name, shape.Shape, model.Weights[shape.Name].Values))]), overwrite: true);
        }
        catch (OpenElmException)
        {
            return null; // llama.cpp's architecture cannot express it
        }

        int seq = (int)model.InputIds.Shape[1];
        return new GoldenModelOutput(llama.Logits(path, model.InputIds.Values.Select(id => (int)id).Chunk(seq)));
    }

    public void Dispose()
    {
    }
}
