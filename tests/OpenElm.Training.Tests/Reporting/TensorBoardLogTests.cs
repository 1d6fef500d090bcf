using System.Buffers.Binary;
using System.Text;
using OpenElm.Training.Reporting;

namespace OpenElm.Training.Tests.Reporting;

public sealed class TensorBoardLogTests
{
    // Known answer: RFC 3720 B.4, 32 bytes of zeros have the CRC-32C 8a9136aa; the mask is TensorFlow's.
    [Fact]
    public void The_checksum_is_masked_CRC32C()
    {
        uint crc = 0x8a9136aa;
        Assert.Equal(((crc >> 15) | (crc << 17)) + 0xa282ead8, TensorBoardEvents.MaskedCrc32C(new byte[32]));
    }

    [Fact]
    public void The_file_is_a_chain_of_checked_records_with_the_values()
    {
        using var folder = new TemporaryFolder();
        using (var log = new TensorBoardLog(folder.Path, TimeProvider.System))
        {
            log.OnStep(Runs.Step(300, 2.5));
            log.OnValidation(new ValidationMetrics { Step = 300, Loss = 2.25, Tokens = 1 });
        }

        string path = Assert.Single(Directory.GetFiles(folder.Path, "events.out.tfevents.*"));
        byte[][] events = [.. Records(File.ReadAllBytes(path))];
        Assert.Equal(3, events.Length);
        Assert.Equal("brain.Event:2", Encoding.UTF8.GetString((byte[])Fields(events[0]).Single(f => f.Field == 3).Value));
        Assert.Equal(300UL, Fields(events[1]).Single(f => f.Field == 2).Value);
        Dictionary<string, float> train = Scalars(events[1]);
        Assert.Equal((2.5f, 0.01f, 0.001f, 300 * 4096f), (train["train/loss"], train["train/z_loss"], train["speed/data_wait_share"], train["progress/tokens_seen"]));
        Assert.DoesNotContain("speed/utilisation", train.Keys); // not known
        Assert.Equal(2.25f, Scalars(events[2])["validation/loss"]);
    }

    static IEnumerable<byte[]> Records(byte[] file)
    {
        for (int at = 0; at < file.Length;)
        {
            int length = (int)BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(at));
            Assert.Equal(TensorBoardEvents.MaskedCrc32C(file.AsSpan(at, 8)), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 8)));
            byte[] data = file.AsSpan(at + 12, length).ToArray();
            Assert.Equal(TensorBoardEvents.MaskedCrc32C(data), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 12 + length)));
            yield return data;
            at += 16 + length;
        }
    }

    static Dictionary<string, float> Scalars(byte[] message) =>
        Fields((byte[])Fields(message).Single(f => f.Field == 5).Value).Select(f => Fields((byte[])f.Value)).ToDictionary(
            value => Encoding.UTF8.GetString((byte[])value.Single(f => f.Field == 1).Value), value => (float)value.Single(f => f.Field == 2).Value);

    static List<(int Field, object Value)> Fields(byte[] message)
    {
        var fields = new List<(int, object)>();
        for (int at = 0; at < message.Length;)
        {
            ulong key = Varint(message, ref at);
            object value;
            switch (key & 7)
            {
                case 0:
                    value = Varint(message, ref at);
                    break;
                case 1:
                    value = BinaryPrimitives.ReadDoubleLittleEndian(message.AsSpan(at));
                    at += 8;
                    break;
                case 5:
                    value = BinaryPrimitives.ReadSingleLittleEndian(message.AsSpan(at));
                    at += 4;
                    break;
                default:
                    int length = (int)Varint(message, ref at);
                    value = message.AsSpan(at, length).ToArray();
                    at += length;
                    break;
            }

            fields.Add(((int)(key >> 3), value));
        }

        return fields;
    }

    static ulong Varint(byte[] message, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte b = message[at++];
            value |= (ulong)(b & 0x7f) << shift;
            if (b < 0x80)
            {
                return value;
            }
        }
    }
}
