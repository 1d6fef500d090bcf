#!/usr/bin/env bash
# Times our tokenizer beside SentencePiece's programs and Microsoft.ML.Tokenizers on the bundled corpus.
#
#   benchmarks/compare-tokenizers.sh MODEL [ROUNDS]      MODEL: LLaMA's tokenizer.model, or samples/tokenizer/mistral/tokenizer.model
#
# Encoding: every line of the corpus, one by one, each program pinned to one core. spm_encode is timed as a whole process, less its
# time on an empty input (loading); the .NET programs time their passes themselves, without start-up and loading. Their first pass
# is cold (just-in-time compilation, empty word cache), the third warm. Training: 8192 pieces, two threads, spm_train as a whole
# process, ours without start-up. Programs take turns in every round; the table shows medians. The ids of both programs are compared.
set -euo pipefail
model=${1:?give a tokenizer.model}
rounds=${2:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

dotnet build -c Release -v quiet "$root/benchmarks/OpenElm.Benchmarks" > "$work/build.log" || { cat "$work/build.log"; exit 1; }
bench=(dotnet "$root/benchmarks/OpenElm.Benchmarks/bin/Release/net10.0/OpenElm.Benchmarks.dll" tokenizer)
"${bench[@]}" extract "$root/samples/pretrain/train.jsonl.gz" "$work/text"
one=()
command -v taskset > /dev/null && one=(taskset -c "$(($(nproc) - 1))")

seconds() { local start=$EPOCHREALTIME; "$@"; awk "BEGIN { printf \"%.3f\\n\", $EPOCHREALTIME - $start }"; }
encode_spm() { "${one[@]}" spm_encode --model="$model" --output_format=id < "$1" > /dev/null; }
train_spm() {
    spm_train --input="$work/text" --model_prefix="$work/spm" --model_type=bpe --vocab_size=8192 --character_coverage=0.9995 \
        --split_digits --byte_fallback --allow_whitespace_only_pieces --normalization_rule_name=identity \
        --remove_extra_whitespaces=false --max_sentence_length=1000000 --num_threads=2 > "$work/spm.log" 2>&1
}
pass() { sed -n "${1}s/ s.*//p"; }
median() { sort -n "$work/$1" | awk '{ v[NR] = $1 } END { printf "%.3f", (v[int((NR + 1) / 2)] + v[int((NR + 2) / 2)]) / 2 }'; }

: > "$work/empty"
for ((round = 1; round <= rounds; round++)); do
    empty=$(seconds encode_spm "$work/empty")
    whole=$(seconds encode_spm "$work/text")
    awk "BEGIN { printf \"%.3f\\n\", $whole - $empty }" >> "$work/spm_encode"
    "${one[@]}" "${bench[@]}" ours "$model" "$work/text" 3 > "$work/out"
    pass 1 < "$work/out" >> "$work/ours_cold"
    pass 3 < "$work/out" >> "$work/ours_warm"
    "${one[@]}" "${bench[@]}" ours "$model" "$work/text" 3 clean | pass 3 >> "$work/clean_warm"
    "${one[@]}" "${bench[@]}" microsoft "$model" "$work/text" 3 > "$work/out"
    pass 1 < "$work/out" >> "$work/microsoft_cold"
    pass 3 < "$work/out" >> "$work/microsoft_warm"
    seconds train_spm >> "$work/spm_train"
    "${bench[@]}" train "$work/text" 8192 2 "$work/ours.model" | pass 1 >> "$work/ours_train"
    echo "round $round of $rounds done, load $(cut -d' ' -f1 /proc/loadavg)" >&2
done

"${bench[@]}" ids "$model" "$work/text" > "$work/ours.ids"
spm_encode --model="$model" --output_format=id < "$work/text" > "$work/spm.ids"
tokens=$(wc -w < "$work/ours.ids")
same=$(cmp -s "$work/ours.ids" "$work/spm.ids" && echo "the same" || echo "DIFFERENT")
"${bench[@]}" ids "$work/ours.model" "$work/text" > "$work/ours.ids"
spm_encode --model="$work/ours.model" --output_format=id < "$work/text" > "$work/spm.ids"
same_ours=$(cmp -s "$work/ours.ids" "$work/spm.ids" && echo "the same" || echo "DIFFERENT")

row() { awk -v name="$1" -v s="$(median "$2")" -v ours="$3" -v tokens="$tokens" 'BEGIN { printf "| %s | %s | %.2f | %s |\n", name, s, tokens / s / 1e6, ours == "" ? "" : sprintf("%.1fx", s / ours) }'; }
cold=$(median ours_cold) warm=$(median ours_warm)
echo "Corpus: $(wc -c < "$work/text") bytes, $(wc -l < "$work/text") lines, $tokens tokens of $(basename "$(dirname "$model")"). Median of $rounds rounds."
echo
echo "| encoding, one core | seconds | million tokens/s | against ours, same state |"
echo "|---|---|---|---|"
row "OpenElm, cold" ours_cold ""
row "OpenElm, warm" ours_warm ""
row "OpenElm with clean-up, warm" clean_warm ""
row "spm_encode, against cold" spm_encode "$cold"
row "Microsoft.ML.Tokenizers, cold" microsoft_cold "$cold"
row "Microsoft.ML.Tokenizers, warm" microsoft_warm "$warm"
echo
echo "| training 8192 pieces, two threads | seconds | against ours |"
echo "|---|---|---|"
echo "| OpenElm | $(median ours_train) | |"
echo "| spm_train | $(median spm_train) | $(awk "BEGIN { printf \"%.1fx\", $(median spm_train) / $(median ours_train) }") |"
echo
echo "Ids of OpenElm and spm_encode: $same with this model, $same_ours with the model that OpenElm trained."
