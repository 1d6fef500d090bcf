using System.Collections.Immutable;
using OpenElm.Adapters;
using OpenElm.Chat;
using OpenElm.Checkpoints;
using OpenElm.Configuration;
using OpenElm.Data;
using OpenElm.Tokenization;

namespace OpenElm.Training;

/// <summary>The model folder that a tuning run begins with: what is read of it before a tensor is touched, and how it becomes the model in training.</summary>
internal sealed record TuningModel
{
    /// <summary>The folder.</summary>
    public required string Path { get; init; }

    /// <summary>Its architecture.</summary>
    public required OpenElmConfig Config { get; init; }

    /// <summary>Its tokenizer.</summary>
    public required SentencePieceTokenizer Tokenizer { get; init; }

    /// <summary>The chat template; null for the template of openelm.md 8.3.</summary>
    public required ChatTemplate? Template { get; init; }

    /// <summary>The text of <c>tokenizer_config.json</c> for the result, or null.</summary>
    public required string? TokenizerConfig { get; init; }

    /// <summary>The adapter to train, or null.</summary>
    public required AdapterConfig? Adapter { get; init; }

    /// <summary>The modules with adapters; empty without.</summary>
    public required ImmutableArray<AdaptedModule> Adapted { get; init; }

    /// <summary>All parameters, those of the adapter included.</summary>
    public long Parameters => ParameterCount.Of(Config).Total + Adapted.Sum(part => part.Parameters);

    /// <summary>Reads the folder, weights left out.</summary>
    /// <param name="run">The run.</param>
    /// <param name="templateName">The template that the run asks for: <c>instruction</c>, <c>chat</c>, <c>zephyr</c>, or a file.</param>
    /// <param name="baseDirectory">The folder that relative paths start from.</param>
    /// <exception cref="OpenElmException">The folder lacks a file, its parts do not belong together, or the adapter does not fit.</exception>
    public static TuningModel Read(ITuningConfig run, string templateName, string baseDirectory)
    {
        string folder = System.IO.Path.GetFullPath(run.Model, System.IO.Path.GetFullPath(baseDirectory));
        using var model = ModelFolder.Open(folder);
        SentencePieceTokenizer tokenizer = SentencePieceTokenizer.Load(
            model.TokenizerPath ?? throw new OpenElmException($"The model folder {folder} has no {ModelFolder.TokenizerFile}; put the model's own tokenizer there."));
        if (tokenizer.PieceCount > model.Config.VocabSize)
        {
            throw new OpenElmException($"The tokenizer of {folder} has {tokenizer.PieceCount} pieces, but the model only {model.Config.VocabSize} rows; they do not belong together.");
        }

        ChatTemplate? template = TemplateOf(templateName, folder, baseDirectory);
        return new TuningModel
        {
            Path = folder,
            Config = model.Config,
            Tokenizer = tokenizer,
            Template = template,
            TokenizerConfig = template is null ? model.ReadTokenizerConfig() : TokenizerConfigJson.With(model.ReadTokenizerConfig(), template, tokenizer),
            Adapter = run.Adapter,
            Adapted = run.Adapter?.Resolve(model.Config) ?? [],
        };
    }

    /// <summary>A checksum of the weights.</summary>
    public string Fingerprint()
    {
        using var model = ModelFolder.Open(Path);
        return WeightsFingerprint.Of(model);
    }

    /// <summary>Refuses sequences that the model was not trained for.</summary>
    /// <param name="length">Positions of the longest sequence.</param>
    /// <param name="setting">What sets it.</param>
    public void RequireContext(int length, string setting)
    {
        if (length > Config.MaxContextLength)
        {
            throw new OpenElmException($"{setting} is {length}, but the model was trained up to {Config.MaxContextLength} (max_context_length); shorten the sequences.");
        }
    }

    /// <summary>Builds the model with the weights of the folder.</summary>
    /// <param name="run">How it computes.</param>
    /// <param name="device">Where.</param>
    public OpenElmModule Load(ITuningConfig run, string device)
    {
        var module = new OpenElmModule(Config, run.Trainer.ModuleOptions(device) with { BaseWeights = BaseWeightFormat.Parse(run.BaseWeights) });
        using var model = ModelFolder.Open(Path);
        module.Load(model);
        return module;
    }

    /// <summary>Attaches the adapter, if there is one; says how what is trained is stored.</summary>
    /// <param name="module">The model with the folder's weights.</param>
    /// <param name="run">The run.</param>
    public IWeightFiles Attach(OpenElmModule module, ITuningConfig run) => Adapter is not null
        ? new AdapterFiles(module.Adapters.Attach(Adapter, run.Seed), Path, TokenizerConfig)
        : new ModelFiles(new ModelContent(Config, [])
        {
            Tokenizer = Tokenizer.ModelBytes,
            TokenizerConfig = TokenizerConfig,
            MaxShardBytes = run.Checkpoints.MaxShardBytes,
        });

    /// <summary>A question as the model sees it, up to where the answer begins.</summary>
    /// <param name="question">The question.</param>
    /// <returns>[n] token ids.</returns>
    public int[] PromptOf(string question)
    {
        string text = Template?.Render([new ChatMessage(ChatMessage.User, question)], addGenerationPrompt: true, Tokenizer) ?? new InstructionRecord(question, "", "").Prompt;
        bool hasBos = Tokenizer.BosId >= 0;
        return Tokenizer.Encode(text, new TokenizerOptions
        {
            RecognizeSpecialPieces = Template is not null,
            AddBos = hasBos && (Template is null || !text.StartsWith(Tokenizer.PieceOf(Tokenizer.BosId), StringComparison.Ordinal)),
        });
    }

    static ChatTemplate? TemplateOf(string name, string modelFolder, string baseDirectory)
    {
        switch (name)
        {
            case ExampleConfig.InstructionTemplate:
                return null;
            case ExampleConfig.ChatTemplate:
                return ChatTemplate.OfFolder(modelFolder) ?? ChatTemplate.Zephyr;
            case ExampleConfig.ZephyrTemplate:
                return ChatTemplate.Zephyr;
            default:
                string file = System.IO.Path.GetFullPath(name, System.IO.Path.GetFullPath(baseDirectory));
                return File.Exists(file)
                    ? ChatTemplate.Parse(File.ReadAllText(file), name)
                    : throw new OpenElmException($"data.template is {name}, which is no file; it must be instruction, chat, zephyr, or a file with a Jinja template.");
        }
    }
}
