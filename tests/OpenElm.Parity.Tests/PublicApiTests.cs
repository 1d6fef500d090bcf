using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace OpenElm.Parity.Tests;

/// <summary>
/// What the libraries promise, as text that reviews see: a changed signature fails here until the approved file is replaced
/// by the received one.
/// </summary>
public sealed class PublicApiTests
{
    const BindingFlags Declared = BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    [Theory]
    [InlineData("OpenElm.Core")]
    [InlineData("OpenElm.Yaml")]
    [InlineData("OpenElm.Data")]
    [InlineData("OpenElm.Evaluation")]
    [InlineData("OpenElm.Inference")]
    [InlineData("OpenElm.Training")]
    [InlineData("OpenElm.Verification")]
    public void The_public_surface_is_the_approved_one(string assembly)
    {
        string folder = Path.Combine(RepositoryFiles.Root, "tests", "OpenElm.Parity.Tests", "Approved");
        string approved = Path.Combine(folder, $"{assembly}.txt"), received = Path.Combine(AppContext.BaseDirectory, $"{assembly}.received.txt");
        string surface = Describe(Assembly.Load(assembly));
        if (!File.Exists(approved) || File.ReadAllText(approved) != surface)
        {
            File.WriteAllText(received, surface);
            string[] before = File.Exists(approved) ? File.ReadAllLines(approved) : [], now = surface.Split('\n');
            Assert.Fail($"The public surface of {assembly} changed. If that is wanted: cp {received} {approved}\n"
                + string.Join('\n', before.Except(now).Select(line => "- " + line).Concat(now.Except(before).Select(line => "+ " + line)).Take(40)));
        }
    }

    static string Describe(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            text.Append($"{Kind(type)} {Name(type)}\n");
            foreach (string member in type.GetMembers(Declared).Where(IsWritten).Select(Signature).Order(StringComparer.Ordinal))
            {
                text.Append($"    {member}\n");
            }
        }

        return text.ToString();
    }

    static string Kind(Type type) => type switch
    {
        { IsEnum: true } => "enum",
        { IsInterface: true } => "interface",
        { IsValueType: true } => "struct",
        { IsAbstract: true, IsSealed: true } => "static class",
        { IsAbstract: true } => "abstract class",
        { IsSealed: true } when type.BaseType == typeof(MulticastDelegate) => "delegate",
        { IsSealed: true } => "sealed class",
        _ => "class",
    };

    // What the compiler writes for records, accessors and operators of equality says nothing that the type does not.
    static bool IsWritten(MemberInfo member) =>
        member.GetCustomAttribute<CompilerGeneratedAttribute>() is null
        && member is not MethodInfo { IsSpecialName: true, Name: not ("op_Implicit" or "op_Explicit") }
        && !(member is MethodInfo { DeclaringType: { } declaring } && declaring.BaseType == typeof(MulticastDelegate) && member.Name != "Invoke")
        && member.Name is not ("value__" or "Equals" or "GetHashCode" or "ToString" or "Deconstruct" or "<Clone>$");

    static string Signature(MemberInfo member) => member switch
    {
        FieldInfo { IsLiteral: true } field => $"const {Name(field.FieldType)} {field.Name} = {field.GetRawConstantValue()}",
        FieldInfo field => $"{Name(field.FieldType)} {field.Name}",
        PropertyInfo property => $"{Name(property.PropertyType)} {property.Name}{Parameters(property.GetIndexParameters(), '[', ']')} {{{(property.CanRead ? " get;" : "")}{(property.SetMethod is { IsPublic: true } ? " set;" : "")} }}",
        ConstructorInfo constructor => $"new{Parameters(constructor.GetParameters(), '(', ')')}",
        MethodInfo method => $"{(method.IsStatic ? "static " : "")}{Name(method.ReturnType)} {method.Name}{Parameters(method.GetParameters(), '(', ')')}",
        _ => $"{member.MemberType} {member.Name}",
    };

    static string Parameters(ParameterInfo[] parameters, char open, char close) =>
        parameters.Length == 0 && open == '[' ? "" : $"{open}{string.Join(", ", parameters.Select(p => $"{Name(p.ParameterType)} {p.Name}{(p.HasDefaultValue ? " = …" : "")}"))}{close}";

    static string Name(Type type) =>
        type.IsByRef ? "ref " + Name(type.GetElementType()!)
        : type.IsArray ? Name(type.GetElementType()!) + "[]"
        : Nullable.GetUnderlyingType(type) is { } underlying ? Name(underlying) + "?"
        : type.IsGenericType ? $"{(type.FullName ?? type.Name).Split('`')[0]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>"
        : type.FullName ?? type.Name;
}
