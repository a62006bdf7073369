module kata-trace-forwarder/test/runtime-exporter/go-0.15

go 1.26.0

require (
	go.opentelemetry.io/otel v0.15.0
	go.opentelemetry.io/otel/exporters/trace/jaeger v0.15.0
	go.opentelemetry.io/otel/sdk v0.15.0
)

require (
	github.com/apache/thrift v0.13.0 // indirect
	golang.org/x/sync v0.0.0-20200625203802-6e8e738ad208 // indirect
	google.golang.org/api v0.32.0 // indirect
)
