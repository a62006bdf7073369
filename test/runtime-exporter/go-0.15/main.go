// Sends spans as the Go shim of Kata 2.1 to 2.2.3 does, with the exporter that it has: batches of up to some hundred
// spans, whose tags end with status.code, status.message and span.kind.
//
//	exporter-0.15 ENDPOINT
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/trace/jaeger"
	"go.opentelemetry.io/otel/label"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	// As src/runtime/pkg/katautils/katatrace/tracing.go of Kata 2.1 has it.
	exporter, err := jaeger.NewRawExporter(
		jaeger.WithCollectorEndpoint(os.Args[1]),
		jaeger.WithProcess(jaeger.Process{
			ServiceName: "kata",
			Tags:        []label.KeyValue{label.String("exporter", "jaeger"), label.String("lib", "opentelemetry")},
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithConfig(sdktrace.Config{DefaultSampler: sdktrace.AlwaysSample()}),
		sdktrace.WithSyncer(exporter),
	)
	tracer := provider.Tracer("kata")
	ctx, root := tracer.Start(context.Background(), "rootSpan")
	kinds := []trace.SpanKind{trace.SpanKindInternal, trace.SpanKindServer, trace.SpanKindClient}
	statuses := []codes.Code{codes.Unset, codes.Error, codes.Ok}
	for i, kind := range kinds {
		_, span := tracer.Start(ctx, fmt.Sprintf("operation %d", i), trace.WithSpanKind(kind),
			trace.WithLinks(trace.Link{SpanContext: root.SpanContext()}))
		span.SetAttributes(label.Int("index", i))
		span.AddEvent("event", trace.WithAttributes(label.String("name", "an attribute")))
		span.SetStatus(statuses[i], fmt.Sprintf("message %d", i))
		span.End()
	}
	root.End()
	if err := exporter.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}
