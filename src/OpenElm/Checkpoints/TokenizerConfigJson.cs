using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using OpenElm.Chat;
using OpenElm.Tokenization;

namespace OpenElm.Checkpoints;

/// <summary>Hugging Face's <c>tokenizer_config.json</c>, where a model folder keeps its chat template.</summary>
public static class TokenizerConfigJson
{
    static readonly JsonWriterOptions Indented = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Puts a chat template into the file's text.</summary>
    /// <param name="json">The file as it was; null begins one for a LLaMA tokenizer.</param>
    /// <param name="template">The template.</param>
    /// <param name="tokenizer">Names BOS and EOS where the file does not.</param>
    /// <returns>The new text; everything else is kept.</returns>
    /// <exception cref="OpenElmException">The old text is no JSON object.</exception>
    public static string With(string? json, ChatTemplate template, SentencePieceTokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(template);
        ArgumentNullException.ThrowIfNull(tokenizer);
        JsonObject config = json is null ? [] : Parse(json);
        config.TryAdd("tokenizer_class", "LlamaTokenizer");
        AddPiece(config, "bos_token", tokenizer.BosId, tokenizer);
        AddPiece(config, "eos_token", tokenizer.EosId, tokenizer);
        config["chat_template"] = template.Source;
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, Indented))
        {
            config.WriteTo(writer);
        }

        return System.Text.Encoding.UTF8.GetString(buffer.ToArray()) + "\n";
    }

    static void AddPiece(JsonObject config, string key, int id, SentencePieceTokenizer tokenizer)
    {
        if (id >= 0)
        {
            config.TryAdd(key, tokenizer.PieceOf(id));
        }
    }

    static JsonObject Parse(string json)
    {
        try
        {
            return JsonNode.Parse(json) as JsonObject ?? throw new OpenElmException($"{ModelFolder.TokenizerConfigFile} of the model is no JSON object; correct or delete it.");
        }
        catch (JsonException e)
        {
            throw new OpenElmException($"{ModelFolder.TokenizerConfigFile} of the model is damaged: {e.Message}", e);
        }
    }
}
