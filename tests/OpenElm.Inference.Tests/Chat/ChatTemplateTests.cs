using System.Text.Json;
using OpenElm.Chat;

namespace OpenElm.Inference.Tests.Chat;

/// <summary>Chat templates with Jinja itself as the referee (make-templates.py).</summary>
public sealed class ChatTemplateTests
{
    static readonly JsonElement Golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Inference.Tests", "Chat", "templates.json"))).RootElement;

    public static TheoryData<string> Names => [.. Golden.GetProperty("templates").EnumerateObject().Select(template => template.Name)];

    [Theory, MemberData(nameof(Names))]
    public void Templates_render_as_in_jinja(string name)
    {
        var template = ChatTemplate.Parse(Golden.GetProperty("templates").GetProperty(name).GetString()!, name);
        int cases = 0;
        foreach (JsonElement expected in Golden.GetProperty("cases").EnumerateArray().Where(expected => expected.GetProperty("template").GetString() == name))
        {
            string conversation = expected.GetProperty("conversation").GetString()!;
            ChatMessage[] messages = [.. Golden.GetProperty("conversations").GetProperty(conversation).EnumerateArray()
                .Select(message => new ChatMessage(message.GetProperty("role").GetString()!, message.GetProperty("content").GetString()!))];
            string Render() => template.Render(messages, expected.GetProperty("add_generation_prompt").GetBoolean(), "<s>", "</s>");
            if (expected.GetProperty("text").GetString() is { } text)
            {
                Assert.Equal(text, Render());
            }
            else
            {
                string error = expected.GetProperty("error").GetString()!, message = Assert.Throws<OpenElmException>(Render).Message;
                Assert.Contains(error.StartsWith("refused: ", StringComparison.Ordinal) ? error["refused: ".Length..] : "line 1", message);
            }

            cases++;
        }

        Assert.Equal(14, cases);
    }

    // openelm.md 7.3: the block of each message, an empty system message where there is none.
    [Fact]
    public void Zephyr_is_what_OpenELM_was_tuned_with()
    {
        ChatMessage question = new("user", "Why?"), answer = new("assistant", "So."), system = new("system", "Be kind.");
        Assert.Equal("<|system|>\n</s>\n<|user|>\nWhy?</s>\n<|assistant|>\n", ChatTemplate.Zephyr.Render([question], true, "<s>", "</s>"));
        Assert.Equal("<|system|>\nBe kind.</s>\n<|user|>\nWhy?</s>\n<|assistant|>\nSo.</s>\n", ChatTemplate.Zephyr.Render([system, question, answer], false, "<s>", "</s>"));
        Assert.Equal(["<|system|>", "<|user|>", "<|assistant|>"], ChatTemplate.Zephyr.Stop);
    }

    [Theory]
    [InlineData("{% macro x() %}{% endmacro %}", "{% macro %} is not supported")]
    [InlineData("a\n{{ x | selectattr('a') }}", "line 2: the filter selectattr is not supported")]
    [InlineData("{{ x is divisibleby(3) }}", "the test divisibleby is not supported")]
    [InlineData("{{ strftime_now('%Y') }}", "the function strftime_now is not supported")]
    [InlineData("{% if x %}", "{% endif %} is missing")]
    [InlineData("{% endfor %}", "{% endfor %} closes nothing")]
    [InlineData("{% for x in y %}{% else %}{% endfor %}", "{% else %} of a loop")]
    [InlineData("{{ x", "not closed")]
    [InlineData("{# x", "not closed")]
    [InlineData("{{ 'x }}", "not closed")]
    [InlineData("{{ x y }}", "'}}' is missing")]
    [InlineData("{{ }}", "a value is missing")]
    [InlineData("{{ a[::2] }}", "step")]
    [InlineData("{{ (1, 2) }}", "tuples")]
    [InlineData("{{ ? }}", "begins no token")]
    [InlineData("{{ 1 < 2 < 3 }}", "chained")]
    public void What_is_not_supported_is_named_when_it_is_read(string template, string message) =>
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => ChatTemplate.Parse(template, "x")).Message);

    [Theory]
    [InlineData("a\n\n{{ messages[9].role }}", "line 3: item 9 is not defined")]
    [InlineData("{{ nothing.at.all }}", "nothing is not defined")]
    [InlineData("{{ messages }}", "cannot be printed")]
    [InlineData("{{ 1 + 'a' }}", "does not fit")]
    [InlineData("{{ 1 // 0 }}", "division by zero")]
    [InlineData("{{ 'a'.format() }}", "the method format is not supported")]
    [InlineData("{% for i in 3 %}{% endfor %}", "has no items")]
    [InlineData("{{ 'a' < 3 }}", "no order")]
    public void What_goes_wrong_is_named_with_its_line(string template, string message) =>
        Assert.Contains(message, Assert.Throws<OpenElmException>(() => ChatTemplate.Parse(template, "x").Render([new("user", "a")], true, "", "")).Message);

    [Fact]
    public void Hostile_templates_end()
    {
        static string Message(string template) => Assert.Throws<OpenElmException>(() => ChatTemplate.Parse(template, "x").Render([], true, "", "")).Message;
        Assert.Contains("steps", Message("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"));
        Assert.Contains("longer than", Message("{% set ns = namespace(x='abcdefgh') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"));
        Assert.Contains("more than", Message("{{ range(99999999999) | length }}"));
        Assert.Contains("deep", Message("{{ " + new string('(', 100_000) + "x" + new string(')', 100_000) + " }}"));
        Assert.Contains("deep", Message("{{ " + string.Concat(Enumerable.Repeat("not ", 100_000)) + "x }}"));
        Assert.Contains("deep", Message(string.Concat(Enumerable.Repeat("{% if a %}", 10_000))));
        var random = new Random(1);
        string[] parts = ["{{", "}}", "{%", "%}", "{#", "#}", "-", "if", "for", "in", "set", "x", "'", "\"", "(", "[", "|", ".", "\n", " ", "endif", "=", "1", "\\", "é", "\ud800"];
        for (int i = 0; i < 10_000; i++)
        {
            string template = string.Concat(Enumerable.Range(0, random.Next(20)).Select(_ => parts[random.Next(parts.Length)]));
            try
            {
                ChatTemplate.Parse(template, "x").Render([new("user", "a")], true, "", "");
            }
            catch (OpenElmException)
            {
            }
        }
    }

    [Fact]
    public void A_folder_brings_its_template()
    {
        using var folder = new TemporaryFolder();
        Assert.Null(ChatTemplate.OfFolder(folder.Path));
        Assert.Null(ChatTemplate.OfFolder(folder["missing"]));
        File.WriteAllText(folder["tokenizer_config.json"], """{"add_bos_token": true}""");
        Assert.Null(ChatTemplate.OfFolder(folder.Path));
        File.WriteAllText(folder["tokenizer_config.json"], """{"chat_template": "one <|im_end|>"}""");
        Assert.Equal(("one <|im_end|>", "<|im_end|>"), (ChatTemplate.OfFolder(folder.Path)!.Source, ChatTemplate.OfFolder(folder.Path)!.Stop.Single()));
        File.WriteAllText(folder["tokenizer_config.json"], """{"chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "two"}]}""");
        Assert.Equal("two", ChatTemplate.OfFolder(folder.Path)!.Source);
        File.WriteAllText(folder["chat_template.jinja"], "three");
        Assert.Equal("three", ChatTemplate.OfFolder(folder.Path)!.Source);
        File.Delete(folder["chat_template.jinja"]);
        foreach (string damaged in new[] { "{", "[]", """{"chat_template": 3}""", """{"chat_template": [{"name": "x", "template": "y"}]}""", """{"chat_template": [{}]}""", """{"chat_template": "{{"}""" })
        {
            File.WriteAllText(folder["tokenizer_config.json"], damaged);
            Assert.Throws<OpenElmException>(() => ChatTemplate.OfFolder(folder.Path));
        }
    }
}
