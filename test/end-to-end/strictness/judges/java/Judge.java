import com.google.protobuf.InvalidProtocolBufferException;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;

/**
 * Judges OTLP trace requests with Java's protobuf.
 *
 * Each request on standard input comes after its length, 4 bytes, big endian. For each that is refused there is a line
 * on standard output: the request's number, a tab, who refuses it, a tab, and why.
 */
final class Judge {
  public static void main(String[] arguments) throws IOException {
    DataInputStream input = new DataInputStream(new BufferedInputStream(System.in, 1 << 20));
    for (int number = 0;; number++) {
      int length;
      try {
        length = input.readInt();
      } catch (EOFException end) {
        return;
      }
      byte[] request = new byte[length];
      input.readFully(request);
      try {
        ExportTraceServiceRequest.parseFrom(request);
      } catch (InvalidProtocolBufferException refusal) {
        System.out.println(number + "\tprotobuf-java\t" + refusal.getMessage().replace('\n', ' '));
      }
    }
  }
}
