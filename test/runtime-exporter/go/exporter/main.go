// Sends spans as Go programs on a Kata host do: the shim over Jaeger Thrift, containerd and others over OTLP.
// Prints what each span is, one JSON object a line, and ends with 0 if every export succeeded.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/jaeger"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Span is what is printed of each.
type Span struct {
	TraceID       string            `json:"traceId"`
	SpanID        string            `json:"spanId"`
	ParentSpanID  string            `json:"parentSpanId"`
	Name          string            `json:"name"`
	Kind          int               `json:"kind"`
	StatusCode    int               `json:"statusCode"`
	StatusMessage string            `json:"statusMessage"`
	Attributes    map[string]string `json:"attributes"`
	Events        []string          `json:"events"`
	Links         []string          `json:"links"`
	Scope         string            `json:"scope"`
}

// OTLP's numbers of Go's status codes, in which Error and Ok change places.
var otlpStatus = map[codes.Code]int{codes.Unset: 0, codes.Ok: 1, codes.Error: 2}

// printer prints the spans that another exporter gets.
type printer struct{}

func (printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		printed := Span{
			TraceID:       span.SpanContext().TraceID().String(),
			SpanID:        span.SpanContext().SpanID().String(),
			Name:          span.Name(),
			Kind:          int(span.SpanKind()),
			StatusCode:    otlpStatus[span.Status().Code],
			StatusMessage: span.Status().Description,
			Attributes:    map[string]string{},
			Events:        []string{},
			Links:         []string{},
			Scope:         span.InstrumentationScope().Name,
		}
		if span.Parent().HasSpanID() {
			printed.ParentSpanID = span.Parent().SpanID().String()
		}
		for _, attribute := range span.Attributes() {
			printed.Attributes[string(attribute.Key)] = attribute.Value.Emit()
		}
		for _, event := range span.Events() {
			printed.Events = append(printed.Events, event.Name)
		}
		for _, link := range span.Links() {
			printed.Links = append(printed.Links, link.SpanContext.SpanID().String())
		}
		if err := json.NewEncoder(os.Stdout).Encode(printed); err != nil {
			return err
		}
	}
	return nil
}

func (printer) Shutdown(context.Context) error { return nil }

func main() {
	protocol := flag.String("protocol", "jaeger", "jaeger, otlp-http or otlp-grpc")
	endpoint := flag.String("endpoint", "", "a URL")
	user := flag.String("user", "", "jaeger_user")
	password := flag.String("password", "", "jaeger_password")
	gzip := flag.Bool("gzip", false, "compress OTLP")
	sandbox := flag.String("id", "", "the sandbox, as a shim has it on its command line")
	count := flag.Int("spans", 10, "how many children the root has")
	flag.Parse()

	var failures atomic.Int64
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		failures.Add(1)
		log.Print(err)
	}))
	ctx := context.Background()
	exporter, err := open(ctx, *protocol, *endpoint, *user, *password, *gzip)
	if err != nil {
		log.Fatal(err)
	}
	service := "containerd"
	attributes := []attribute.KeyValue{}
	var processor sdktrace.TracerProviderOption = sdktrace.WithBatcher(exporter)
	if *protocol == "jaeger" {
		// As src/runtime/pkg/katautils/katatrace/tracing.go has it: each End() is a request.
		service = "kata"
		attributes = append(attributes, attribute.String("exporter", "jaeger"), attribute.String("lib", "opentelemetry"))
		processor = sdktrace.WithSyncer(exporter)
	}
	attributes = append(attributes, attribute.String("service.name", service))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		processor,
		sdktrace.WithSyncer(printer{}),
		sdktrace.WithResource(resource.NewSchemaless(attributes...)),
	)
	session(ctx, provider.Tracer(service), *sandbox, *count)
	if err := provider.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	if failures.Load() > 0 {
		os.Exit(1)
	}
}

func open(ctx context.Context, protocol, endpoint, user, password string, gzip bool) (sdktrace.SpanExporter, error) {
	switch protocol {
	case "jaeger":
		return jaeger.New(jaeger.WithCollectorEndpoint(
			jaeger.WithEndpoint(endpoint), jaeger.WithUsername(user), jaeger.WithPassword(password)))
	case "otlp-http":
		options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(endpoint)}
		if gzip {
			options = append(options, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		}
		return otlptracehttp.New(ctx, options...)
	case "otlp-grpc":
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(endpoint)}
		if gzip {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		return otlptracegrpc.New(ctx, options...)
	}
	return nil, fmt.Errorf("no protocol %q", protocol)
}

// session makes spans of every kind and status, one trace.
func session(ctx context.Context, tracer trace.Tracer, sandbox string, count int) {
	ctx, root := tracer.Start(ctx, "rootSpan")
	kinds := []trace.SpanKind{trace.SpanKindInternal, trace.SpanKindServer, trace.SpanKindClient,
		trace.SpanKindProducer, trace.SpanKindConsumer}
	for i := range count {
		_, span := tracer.Start(ctx, fmt.Sprintf("operation %d", i), trace.WithSpanKind(kinds[i%len(kinds)]),
			trace.WithLinks(trace.Link{SpanContext: root.SpanContext()}))
		span.SetAttributes(attribute.Int("index", i), attribute.String("text", strings.Repeat("é", i)))
		if i%2 == 0 && sandbox != "" {
			span.SetAttributes(attribute.String("sandbox_id", sandbox))
		}
		span.AddEvent("event", trace.WithAttributes(attribute.Bool("yes", true)))
		switch i % 3 {
		case 1:
			span.SetStatus(codes.Error, "why")
		case 2:
			span.SetStatus(codes.Ok, "")
		}
		span.End()
	}
	root.End()
}
