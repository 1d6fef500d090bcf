using System.Collections.Immutable;
using System.CommandLine;
using System.Globalization;
using OpenElm.Inference;
using OpenElm.Inference.Constraints;
using OpenElm.Inference.Generation;
using OpenElm.Inference.Sampling;

namespace OpenElm.Commands;

/// <summary>What is generated and how its tokens are chosen: the options that <c>generate</c> and <c>chat</c> share.</summary>
internal sealed class GenerationArguments
{
    readonly Option<int> _maxTokens = new("--max-tokens", "-n") { Description = "Generate at most this many tokens", DefaultValueFactory = _ => new GenerationOptions().MaxTokens };
    readonly Option<double> _temperature = new("--temperature") { Description = "0 takes the likeliest token (greedy); 1 draws as the model says" };
    readonly Option<int> _topK = new("--top-k") { Description = "Draw from this many of the likeliest tokens; 0 is all" };
    readonly Option<double> _topP = new("--top-p") { Description = "Draw from the likeliest tokens that together have this probability", DefaultValueFactory = _ => 1 };
    readonly Option<double> _minP = new("--min-p") { Description = "Drop tokens less likely than this share of the likeliest" };
    readonly Option<double> _typicalP = new("--typical-p") { Description = "Draw from the tokens of most typical surprise that together have this probability", DefaultValueFactory = _ => 1 };
    readonly Option<double> _repetition = new("--repetition-penalty") { Description = "Above 1 makes tokens that already occur less likely", DefaultValueFactory = _ => 1 };
    readonly Option<double> _frequency = new("--frequency-penalty") { Description = "Subtract from a logit for each time the token was generated" };
    readonly Option<double> _presence = new("--presence-penalty") { Description = "Subtract from the logits of tokens that were generated" };
    readonly Option<string[]> _bias = new("--logit-bias") { Description = "ID=NUMBER: add to the logit of a token; may be given several times" };
    readonly Option<int> _seed = new("--seed") { Description = "Seed of the draws" };
    readonly Option<string[]> _stop = new("--stop") { Description = "End before this text; may be given several times" };
    readonly Option<int[]> _stopTokens = new("--stop-token") { Description = "End before this token id; may be given several times" };
    readonly Option<bool> _ignoreEos = new("--ignore-eos") { Description = "Go on after the end of a sequence, as benchmarks do" };
    readonly Option<string?> _schema = new("--json-schema") { Description = "Generate one JSON document that the schema in this file accepts" };
    readonly Option<string?> _regex = new("--regex") { Description = "Generate a text that this regular expression matches as a whole" };
    readonly Option<int> _lookup = new("--prompt-lookup") { Description = "Speculate: where the text repeats itself, verify up to this many tokens at once; 0 is off" };
    readonly Option<string?> _draft = new("--draft") { Description = "Speculate: a smaller model of the same vocabulary that guesses ahead" };

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[]
        {
            _maxTokens, _temperature, _topK, _topP, _minP, _typicalP, _repetition, _frequency, _presence, _bias, _seed, _stop, _stopTokens, _ignoreEos,
            _schema, _regex, _lookup, _draft,
        })
        {
            command.Options.Add(option);
        }
    }

    public GenerationOptions Read(ParseResult parsed) => new GenerationOptions
    {
        MaxTokens = parsed.GetValue(_maxTokens),
        Stop = [.. parsed.GetValue(_stop) ?? []],
        StopTokens = [.. parsed.GetValue(_stopTokens) ?? []],
        IgnoreEos = parsed.GetValue(_ignoreEos),
        Constraint = Constraint(parsed.GetValue(_schema), parsed.GetValue(_regex)),
        PromptLookup = parsed.GetValue(_lookup),
        Sampling = new SamplingOptions
        {
            Temperature = parsed.GetValue(_temperature),
            TopK = parsed.GetValue(_topK),
            TopP = parsed.GetValue(_topP),
            MinP = parsed.GetValue(_minP),
            TypicalP = parsed.GetValue(_typicalP),
            RepetitionPenalty = parsed.GetValue(_repetition),
            FrequencyPenalty = parsed.GetValue(_frequency),
            PresencePenalty = parsed.GetValue(_presence),
            LogitBias = Biases(parsed.GetValue(_bias) ?? []),
            Seed = parsed.GetValue(_seed),
        },
    }.Validated();

    /// <summary>Opens the draft model, with the threads and kernels of the model.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">For warnings.</param>
    /// <param name="inference">How models are opened.</param>
    /// <returns>The draft model, or null.</returns>
    public TextModel? OpenDraft(ParseResult parsed, CommandContext context, InferenceArguments inference) =>
        parsed.GetValue(_draft) is { } path ? inference.OpenOther(path, parsed, context) : null;

    /// <summary>Refuses a draft model where nothing would use it.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="option">What it does not go with.</param>
    /// <exception cref="OpenElmException">There is one.</exception>
    public void RefuseDraft(ParseResult parsed, string option)
    {
        if (parsed.GetValue(_draft) is not null)
        {
            throw new OpenElmException($"--draft does not go with {option}; leave one out.");
        }
    }

    static OutputConstraint? Constraint(string? schema, string? regex) => (schema, regex) switch
    {
        (null, null) => null,
        (null, { } expression) => OutputConstraint.Regex(expression),
        ({ } file, null) => OutputConstraint.JsonSchema(CommandContext.ReadText(file)),
        _ => throw new OpenElmException("Give one constraint: --json-schema or --regex."),
    };

    static ImmutableDictionary<int, double> Biases(string[] arguments)
    {
        ImmutableDictionary<int, double>.Builder biases = ImmutableDictionary.CreateBuilder<int, double>();
        foreach (string argument in arguments)
        {
            string[] parts = argument.Split('=');
            if (parts.Length != 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int token)
                || !double.TryParse(parts[1], NumberStyles.Float, CultureInfo.InvariantCulture, out double bias))
            {
                throw new OpenElmException($"--logit-bias {argument} is not of the form ID=NUMBER, such as 13=-100.");
            }

            biases[token] = bias;
        }

        return biases.ToImmutable();
    }
}
