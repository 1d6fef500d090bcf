namespace OpenElm.Checkpoints.Gguf;

/// <summary>The metadata keys of llama.cpp's <c>openelm</c>.</summary>
internal static class GgufKeys
{
    public const string OpenElm = "openelm";

    public const string Architecture = "general.architecture", FileType = "general.file_type", QuantizationVersion = "general.quantization_version";

    public const string BlockCount = "openelm.block_count", ContextLength = "openelm.context_length", EmbeddingLength = "openelm.embedding_length";
    public const string FeedForwardLength = "openelm.feed_forward_length", VocabSize = "openelm.vocab_size";
    public const string HeadCount = "openelm.attention.head_count", HeadCountKv = "openelm.attention.head_count_kv";
    public const string KeyLength = "openelm.attention.key_length", ValueLength = "openelm.attention.value_length";
    public const string RmsEpsilon = "openelm.attention.layer_norm_rms_epsilon";
    public const string RopeBase = "openelm.rope.freq_base", RopeDimensions = "openelm.rope.dimension_count", RopeScaling = "openelm.rope.scaling.type";

    public const string TokenizerModel = "tokenizer.ggml.model", TokenizerPre = "tokenizer.ggml.pre";
    public const string Tokens = "tokenizer.ggml.tokens", Scores = "tokenizer.ggml.scores", TokenTypes = "tokenizer.ggml.token_type";
    public const string BosId = "tokenizer.ggml.bos_token_id", EosId = "tokenizer.ggml.eos_token_id";
    public const string UnknownId = "tokenizer.ggml.unknown_token_id", PaddingId = "tokenizer.ggml.padding_token_id";
    public const string AddBos = "tokenizer.ggml.add_bos_token", AddEos = "tokenizer.ggml.add_eos_token";
    public const string AddSpacePrefix = "tokenizer.ggml.add_space_prefix", RemoveExtraBlanks = "tokenizer.ggml.remove_extra_whitespaces";
}
