using System.Collections.Immutable;
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
    readonly AdapterArguments _adapters = new();
    readonly DeviceArguments _device = new();
    readonly Option<KvCacheType> _kv = new("--kv") { Description = "How past keys and values are kept: F32, BF16 or I8" };

    public void AddTo(Command command)
    {
        command.Arguments.Add(_model);
        foreach (Option option in new Option[] { _tokenizer, _maxLength, _threads, _kernels, _kv })
        {
            command.Options.Add(option);
        }

        _adapters.AddTo(command);
        _device.AddTo(command);
    }

    public string ModelPath(ParseResult parsed) => parsed.GetRequiredValue(_model);

    public int? MaxLength(ParseResult parsed) => parsed.GetValue(_maxLength);

    public ImmutableArray<AdapterPath> Adapters(ParseResult parsed) => _adapters.Read(parsed);

    public TextModel Open(ParseResult parsed, CommandContext context) => Open(ModelPath(parsed), Adapters(parsed), parsed.GetValue(_tokenizer), parsed, context);

    /// <summary>Opens another model beside the one of the command line, without its adapters.</summary>
    public TextModel OpenOther(string path, ParseResult parsed, CommandContext context) => Open(path, [], null, parsed, context);

    TextModel Open(string path, ImmutableArray<AdapterPath> adapters, string? tokenizer, ParseResult parsed, CommandContext context) => TextModel.Load(
        path,
        new InferenceOptions
        {
            Device = _device.Open(parsed, context),
            MaxLength = parsed.GetValue(_maxLength),
            Threads = parsed.GetValue(_threads),
            Kernels = parsed.GetValue(_kernels),
            KvCache = parsed.GetValue(_kv),
            Adapters = adapters,
            Warn = context.Warn,
        },
        tokenizer);
}
