package main

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.uber.org/zap"
)

// telemetryConfig is empty: the tests configure nothing under service.telemetry.
type telemetryConfig struct{}

// logsOnly gives the collector a log on stderr and no metrics or traces of its
// own. The usual otelconftelemetry would bring detectors for every cloud, the
// Kubernetes client among them, and most of the build time with them.
func logsOnly() telemetry.Factory {
	return telemetry.NewFactory(
		func() component.Config { return &telemetryConfig{} },
		telemetry.WithCreateLogger(createLogger),
	)
}

func createLogger(
	_ context.Context, _ telemetry.LoggerSettings, _ component.Config,
) (*zap.Logger, component.ShutdownFunc, error) {
	config := zap.NewProductionConfig()
	config.Encoding = "console"
	config.Sampling = nil
	logger, err := config.Build()
	// Nothing is buffered, so there is nothing to do at shutdown.
	return logger, nil, err
}
