using System.CommandLine;
using OpenElm.Inference;

namespace OpenElm.Commands;

/// <summary>The model and the options that every verb of inference shares.</summary>
internal sealed class InferenceArguments
{
    readonly Argument<string> _model = new("model") { Description = "A model of any format: a folder, or a file (GGUF, CoreNet, llama2.c)" };
    readonly Option<string?> _tokenizer = new("--tokenizer") { Description = "A SentencePiece tokenizer.model instead of the model's own" };
    readonly Option<int?> _maxLength = new("--max-length") { Description = "The longest sequence instead of the model's rope_max_length" };
    readonly Option<int?> _threads = new("--threads") { Description = "Threads that share a product instead of one a processor" };
    readonly Option<string?> _kernels = new("--kernels") { Description = "Kernel set instead of the fastest (or of OPENELM_KERNELS)" };

    readonly Option<KvCacheType> _kv = new("--kv") { Description = "How past keys and values are kept: F32, BF16 or I8" };

    public void AddTo(Command command)
    {
        command.Arguments.Add(_model);
        foreach (Option option in new Option[] { _tokenizer, _maxLength, _threads, _kernels, _kv })
        {
            command.Options.Add(option);
        }
    }

    public string ModelPath(ParseResult parsed) => parsed.GetRequiredValue(_model);

    public int? MaxLength(ParseResult parsed) => parsed.GetValue(_maxLength);

    public TextModel Open(ParseResult parsed, CommandContext context) => Open(ModelPath(parsed), parsed, context, parsed.GetValue(_tokenizer));

    public TextModel Open(string path, ParseResult parsed, CommandContext context, string? tokenizer = null) => TextModel.Load(
        path,
        new InferenceOptions
        {
            MaxLength = parsed.GetValue(_maxLength),
            Threads = parsed.GetValue(_threads),
            Kernels = parsed.GetValue(_kernels),
            KvCache = parsed.GetValue(_kv),
            Warn = context.Warn,
        },
        tokenizer);
}
