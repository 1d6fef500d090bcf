using System.Collections.Immutable;
using OpenElm.Evaluation.Engine;
using OpenElm.Evaluation.Metrics;
using OpenElm.Evaluation.Reports;
using OpenElm.Evaluation.Tasks;
using OpenElm.Inference;
using OpenElm.Scoring;

namespace OpenElm.Evaluation;

/// <summary>From tasks with documents to results: all requests of all tasks go to the engine together, so that they share what they can.</summary>
public static class EvaluationRun
{
    /// <summary>Evaluates a model.</summary>
    /// <param name="tasks">The tasks.</param>
    /// <param name="tokenizer">Turns requests into tokens.</param>
    /// <param name="scorer">The model.</param>
    /// <param name="options">How the engine runs.</param>
    /// <param name="writer">The same model where tasks have it write; null if it cannot.</param>
    /// <param name="cancellation">Stops between two passes; what is done stays in the cache.</param>
    /// <returns>Results in the order of the tasks, and what they cost.</returns>
    /// <exception cref="OpenElmException">A request cannot be scored; task and document are named.</exception>
    public static (ImmutableArray<TaskResult> Results, EngineCounts Counts) Score(
        IReadOnlyList<PreparedTask> tasks, RequestTokenizer tokenizer, IContinuationScorer scorer, EngineOptions options, TextModel? writer = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        ArgumentNullException.ThrowIfNull(tokenizer);
        PreparedTask[] written = [.. tasks.Where(task => task.Task.Kind == RequestKind.Generation)], scored = [.. tasks.Except(written)];
        if (written is [var first, ..] && writer is null)
        {
            throw new OpenElmException($"{first.Task.Name} has the model write its answers, which this runtime cannot; take the inference runtime, or leave the task out.");
        }

        List<TokenizedRequest> requests = Encode(scored, (task, item) => item.Requests.Select(request => tokenizer.Encode(request, task.Task.Kind, task.Task.RecognizesSpecialPieces)), cancellation);
        List<GenerationRequest> questions = Encode(written, (task, item) => item.Requests.Select(request => tokenizer.Encode(request.Context, task.Task.Generation!, task.Task.RecognizesSpecialPieces)), cancellation);
        EngineResult scores = EvaluationEngine.Run(requests, scorer, options, cancellation);
        GenerationResult texts = questions is [] ? new GenerationResult([], 0, 0) : GenerationEngine.Run(questions, writer!, options, cancellation);
        (int nextRequest, int nextQuestion) = (0, 0);
        return (
            [.. tasks.Select(task => TaskSummary.Of(task, [.. task.Items.Select(item => task.Task.Kind == RequestKind.Generation ? Written() : Scored(item.Requests.Length))]))],
            scores.Counts with { Texts = questions.Count, TextsCached = texts.Cached, TokensWritten = texts.TokensWritten });

        ItemAnswer Scored(int count)
        {
            int from = nextRequest;
            nextRequest += count;
            return new ItemAnswer { Scores = scores.Scores[from..nextRequest], IsTruncated = requests[from..nextRequest].Exists(request => request.IsTruncated) };
        }

        ItemAnswer Written() => new() { Text = texts.Texts[nextQuestion], IsTruncated = questions[nextQuestion++].IsTruncated };
    }

    /// <summary>Takes scores that another engine gave.</summary>
    /// <param name="tasks">The tasks.</param>
    /// <param name="scores">The scores.</param>
    /// <returns>Results in the order of the tasks.</returns>
    /// <exception cref="OpenElmException">The scores do not fit the requests.</exception>
    public static ImmutableArray<TaskResult> Take(IReadOnlyList<PreparedTask> tasks, ScoreLines scores)
    {
        ArgumentNullException.ThrowIfNull(tasks);
        ArgumentNullException.ThrowIfNull(scores);
        if (tasks.GroupBy(task => task.Task.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new OpenElmException($"{twice.Key} is asked with {string.Join(" and ", twice.Select(task => task.Shots))} examples, which a line of requests or scores cannot tell apart; ask for one suite at a time.");
        }

        ImmutableArray<ImmutableArray<ImmutableArray<ContinuationScore>>> found = scores.Of([.. tasks.Select(task => (task.Task.Name, task.Items))]);
        return [.. tasks.Select((task, i) => TaskSummary.Of(task, [.. found[i].Select(item => new ItemAnswer { Scores = item })]))];
    }

    static List<T> Encode<T>(PreparedTask[] tasks, Func<PreparedTask, EvaluationItem, IEnumerable<T>> encode, CancellationToken cancellation)
    {
        var requests = new List<T>();
        foreach (PreparedTask task in tasks)
        {
            foreach (EvaluationItem item in task.Items)
            {
                cancellation.ThrowIfCancellationRequested();
                try
                {
                    requests.AddRange(encode(task, item));
                }
                catch (OpenElmException problem)
                {
                    throw new OpenElmException($"{task.Task.Name}, document {item.DocumentId}: {problem.Message}", problem);
                }
            }
        }

        return requests;
    }
}
