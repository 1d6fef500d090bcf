using OpenElm.Chat;
using OpenElm.Inference.Generation;
using OpenElm.Tokenization;

namespace OpenElm.Inference.Chat;

/// <summary>
/// A conversation with a model. Each turn feeds only what is new: the session keeps the state of what was said. When the
/// context is full, the oldest turns are forgotten. Not for two threads at once.
/// </summary>
public sealed class ChatSession : IDisposable
{
    readonly TextModel _model;
    readonly SentencePieceTokenizer _tokenizer;
    readonly GenerationSession _session;
    readonly GenerationOptions _options;
    readonly List<ChatMessage> _history = []; // without the system message

    /// <summary>Begins a conversation.</summary>
    /// <param name="model">The model; it must outlive the conversation.</param>
    /// <param name="template">How messages become text.</param>
    /// <param name="options">How answers are generated; null takes the defaults.</param>
    /// <param name="context">Tokens that the model can look back on; null takes what it was trained on.</param>
    /// <param name="draft">A smaller model that guesses ahead, or null.</param>
    /// <param name="time">The clock of the rates; null takes the system's.</param>
    /// <exception cref="OpenElmException">The model has no tokenizer, or an option is impossible.</exception>
    public ChatSession(TextModel model, ChatTemplate template, GenerationOptions? options = null, int? context = null, TextModel? draft = null, TimeProvider? time = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(template);
        _model = model;
        _tokenizer = model.RequireTokenizer("A chat");
        options ??= new GenerationOptions();
        _options = (options.Constraint is null ? options with { Stop = options.Stop.AddRange(template.Stop) } : options).ValidatedFor(model);
        Template = template;
        Context = Math.Min(context ?? model.Model.Config.MaxContextLength, model.Model.MaxLength);
        _session = model.CreateSession(draft, time);
    }

    /// <summary>How messages become text.</summary>
    public ChatTemplate Template { get; }

    /// <summary>Tokens that the model can look back on.</summary>
    public int Context { get; }

    /// <summary>The instructions, or null; a change counts from the next turn on.</summary>
    public string? System { get; set; }

    /// <summary>The messages so far, the system message first if there is one.</summary>
    public IReadOnlyList<ChatMessage> Messages => System is null ? [.. _history] : [new ChatMessage(ChatMessage.System, System), .. _history];

    /// <summary>Forgets everything but the instructions.</summary>
    public void Reset() => _history.Clear();

    /// <summary>Prepares the answer to a message.</summary>
    /// <param name="message">What the person says.</param>
    /// <returns>The turn; nothing is computed before its text is enumerated.</returns>
    /// <exception cref="OpenElmException">The message does not fit into the context, or the template refuses the conversation.</exception>
    public ChatTurn Ask(string message)
    {
        ArgumentNullException.ThrowIfNull(message);
        var asked = new ChatMessage(ChatMessage.User, message);
        int room = Math.Min(_options.MaxTokens, Math.Max(1, Context / 4)); // for the answer
        for (int forgotten = 0; ; forgotten += 2)
        {
            List<ChatMessage> kept = _history[Math.Min(forgotten, _history.Count)..];
            int[] prompt = Encode([.. kept, asked]);
            if (prompt.Length + room <= Context)
            {
                _history.RemoveRange(0, _history.Count - kept.Count);
                GenerationRun run = _session.Start(prompt, _options with { MaxTokens = Math.Min(_options.MaxTokens, Context - prompt.Length) });
                return new ChatTurn(run, forgotten / 2, Context, answer => _history.AddRange([asked, new ChatMessage(ChatMessage.Assistant, answer)]));
            }

            if (kept.Count == 0)
            {
                throw new OpenElmException($"The message is too long: with the instructions it has {prompt.Length} tokens, and the context of {Context} must also hold an answer of {room}. Shorten it.");
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _session.Dispose();

    int[] Encode(List<ChatMessage> history)
    {
        string bos = Piece(_tokenizer.BosId);
        string text = Template.Render(System is null ? history : [new ChatMessage(ChatMessage.System, System), .. history], addGenerationPrompt: true, bos, Piece(_tokenizer.EosId));
        return _tokenizer.Encode(text, new TokenizerOptions { RecognizeSpecialPieces = true, AddBos = bos.Length > 0 && !text.StartsWith(bos, StringComparison.Ordinal) });
    }

    string Piece(int id) => id < 0 ? "" : _tokenizer.PieceOf(id);
}
