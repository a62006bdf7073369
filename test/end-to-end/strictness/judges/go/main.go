// Judges OTLP trace requests: Go's protobuf, and the Collector's own decoder and translators to Zipkin and Jaeger.
//
// Each request on standard input comes after its length, 4 bytes, big endian. For each that is refused there is a line
// on standard output: the request's number, a tab, who refuses it, a tab, and why.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/zipkin/zipkinv2"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// judges are asked one after the other; the Collector's translators get what its decoder made.
func judge(request []byte) map[string]error {
	verdicts := map[string]error{"google.golang.org/protobuf": goProtobuf(request)}
	decoded := ptraceotlp.NewExportRequest()
	if err := decoded.UnmarshalProto(request); err != nil {
		verdicts["Collector's decoder"] = err
		return verdicts
	}
	traces := decoded.Traces()
	verdicts["Collector's translator to Zipkin"] = zipkin(traces)
	verdicts["Collector's translator to Jaeger"] = toJaeger(traces)
	verdicts["Collector's OTLP/JSON"] = otlpJSON(traces)
	return verdicts
}

// goProtobuf also encodes what it decoded, which checks that strings are UTF-8.
func goProtobuf(request []byte) error {
	var message collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(request, &message); err != nil {
		return err
	}
	_, err := proto.Marshal(&message)
	return err
}

func zipkin(traces ptrace.Traces) error {
	spans, err := zipkinv2.FromTranslator{}.FromTraces(traces)
	if err != nil {
		return err
	}
	if len(spans) != traces.SpanCount() {
		return fmt.Errorf("%d of %d spans", len(spans), traces.SpanCount())
	}
	for _, span := range spans {
		// An array that its translator cannot write as JSON becomes an empty tag.
		if span.Tags["kata-test-array"] == "" {
			if _, there := span.Tags["kata-test-array"]; there {
				return errors.New("an array became an empty tag")
			}
		}
	}
	return nil
}

func toJaeger(traces ptrace.Traces) error {
	spans := 0
	for _, batch := range jaeger.ProtoFromTraces(traces) {
		spans += len(batch.Spans)
		if _, err := batch.Marshal(); err != nil {
			return err
		}
		// Jaeger's API answers with JSON.
		for _, span := range batch.Spans {
			if _, err := json.Marshal(span.Tags); err != nil {
				return err
			}
			if _, err := json.Marshal(span.Logs); err != nil {
				return err
			}
		}
		if _, err := json.Marshal(batch.Process); err != nil {
			return err
		}
	}
	if spans != traces.SpanCount() {
		return fmt.Errorf("%d of %d spans", spans, traces.SpanCount())
	}
	return nil
}

func otlpJSON(traces ptrace.Traces) error {
	text, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
	if err != nil {
		return err
	}
	if !json.Valid(text) {
		return errors.New("not JSON")
	}
	_, err = (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(text)
	return err
}

func main() {
	input := bufio.NewReaderSize(os.Stdin, 1<<20)
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	var header [4]byte
	for number := 0; ; number++ {
		if _, err := io.ReadFull(input, header[:]); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		request := make([]byte, binary.BigEndian.Uint32(header[:]))
		if _, err := io.ReadFull(input, request); err != nil {
			log.Fatal(err)
		}
		for name, err := range judge(request) {
			if err != nil {
				fmt.Fprintf(output, "%d\t%s\t%s\n", number, name, strings.ReplaceAll(err.Error(), "\n", " "))
			}
		}
	}
}
