// The Collector's own decoders, to compare with: reads bodies from standard input, each with its length in front (8
// bytes, big endian), and prints one line of JSON for each: {"spans": OTLP/JSON} or {"error": "why"}.
//
//	translate thrift    bodies are jaeger.thrift's Batch in TBinaryProtocol
//	translate json      bodies are OTLP/JSON
//	translate bench N   decodes the Thrift bodies N times and prints how much processor time a span takes, in
//	                    nanoseconds
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	gen "github.com/jaegertracing/jaeger-idl/thrift-gen/jaeger"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/jaeger"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// readBatch reads a body as the Collector's and Jaeger's receivers do.
func readBatch(body []byte) (*gen.Batch, error) {
	transport := thrift.NewTMemoryBufferLen(len(body))
	if _, err := transport.Write(body); err != nil {
		return nil, err
	}
	batch := gen.NewBatch()
	protocol := thrift.NewTBinaryProtocolConf(transport, &thrift.TConfiguration{})
	if err := batch.Read(context.Background(), protocol); err != nil {
		return nil, err
	}
	return batch, nil
}

func translate(mode string, body []byte) (ptrace.Traces, error) {
	if mode == "json" {
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalJSON(body); err != nil {
			return ptrace.Traces{}, err
		}
		return request.Traces(), nil
	}
	batch, err := readBatch(body)
	if err != nil {
		return ptrace.Traces{}, err
	}
	return jaeger.ThriftToTraces(batch)
}

// guarded turns a panic into an error: not every body is one that the decoders were made for.
func guarded(mode string, body []byte) (traces ptrace.Traces, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return translate(mode, body)
}

func readBodies(input io.Reader) ([][]byte, error) {
	var bodies [][]byte
	reader := bufio.NewReader(input)
	for {
		var length uint64
		if err := binary.Read(reader, binary.BigEndian, &length); err == io.EOF {
			return bodies, nil
		} else if err != nil {
			return nil, err
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(reader, body); err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
}

func bench(bodies [][]byte, times int) {
	spans := 0
	before := processorTime()
	for range times {
		for _, body := range bodies {
			traces, err := translate("thrift", body)
			if err != nil {
				log.Fatal(err)
			}
			request := ptraceotlp.NewExportRequestFromTraces(traces)
			if _, err := request.MarshalProto(); err != nil {
				log.Fatal(err)
			}
			spans += traces.SpanCount()
		}
	}
	fmt.Println(float64((processorTime() - before).Nanoseconds()) / float64(spans))
}

// processorTime is what this process has used, the garbage collector included: other processes' load does not count.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	bodies, err := readBodies(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	if os.Args[1] == "bench" {
		times, err := strconv.Atoi(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		bench(bodies, times)
		return
	}
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	encoder := json.NewEncoder(output)
	marshaler := ptrace.JSONMarshaler{}
	for _, body := range bodies {
		var line struct {
			Spans json.RawMessage `json:"spans,omitempty"`
			Error string          `json:"error,omitempty"`
		}
		traces, err := guarded(os.Args[1], body)
		if err == nil {
			line.Spans, err = marshaler.MarshalTraces(traces)
		}
		if err != nil {
			line.Error = err.Error()
		}
		if err := encoder.Encode(line); err != nil {
			log.Fatal(err)
		}
	}
}
