package main

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // registers gzip
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// message is a request as it came: decoding and encoding it again would not tell whether its bytes are the same.
type message struct{ bytes []byte }

// codec keeps requests as they came.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Unmarshal(data mem.BufferSlice, target any) error {
	target.(*message).bytes = data.Materialize()
	return nil
}

func (codec) Marshal(source any) (mem.BufferSlice, error) {
	bytes, err := proto.Marshal(source.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(bytes)}, err
}

var _ encoding.CodecV2 = codec{}

var service = grpc.ServiceDesc{
	ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: handle}},
}

func newServer(config *tls.Config, options ...grpc.ServerOption) *grpc.Server {
	options = append(options, grpc.ForceServerCodecV2(codec{}))
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&service, nil)
	return server
}

func newAgingServer(config *tls.Config) *grpc.Server {
	return newServer(config, grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge:      300 * time.Millisecond,
		MaxConnectionAgeGrace: 5 * time.Second,
		Time:                  time.Second,
		Timeout:               time.Second,
	}))
}

func handle(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var request message
	if err := decode(&request); err != nil {
		return nil, err
	}
	fields, _ := metadata.FromIncomingContext(ctx)
	client, _ := peer.FromContext(ctx)
	receipt := Receipt{SHA256: digest(request.bytes), Bytes: len(request.bytes), Metadata: map[string]string{}}
	for name, values := range fields {
		receipt.Metadata[name] = values[0]
	}
	receipt.Requests, receipt.Connections = note(receipt.Metadata["x-run"], client.Addr.String())
	return answer(ctx, receipt.Metadata["x-scenario"], receipt)
}

// answer does what a scenario says.
func answer(ctx context.Context, scenario string, receipt Receipt) (*tracepb.ExportTraceServiceResponse, error) {
	switch scenario {
	case "partial":
		return &tracepb.ExportTraceServiceResponse{PartialSuccess: &tracepb.ExportTracePartialSuccess{
			RejectedSpans: 3, ErrorMessage: "three were bad",
		}}, nil
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	case "slow":
		time.Sleep(800 * time.Millisecond)
	case "big-metadata":
		// Beyond one frame, so that it comes in HEADERS and CONTINUATION.
		value := strings.Repeat("metadata ", 4000)
		grpc.SetHeader(ctx, metadata.Pairs("x-big", value, "x-bin-bin", string([]byte{0, 1, 255})))
		grpc.SetTrailer(ctx, metadata.Pairs("x-big-trailer", value))
	case "compressed":
		if err := grpc.SetSendCompressor(ctx, "gzip"); err != nil {
			return nil, err
		}
	case "exhausted-with-retry-info", "unavailable-with-retry-info":
		code := codes.ResourceExhausted
		if scenario == "unavailable-with-retry-info" {
			code = codes.Unavailable
		}
		refusal, err := status.New(code, "wait, ä and %").WithDetails(
			&errdetails.DebugInfo{Detail: "another detail"},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
		)
		if err != nil {
			return nil, err
		}
		return nil, refusal.Err()
	case "exhausted":
		return nil, status.Error(codes.ResourceExhausted, "RATE_LIMITED: over the limit of bytes")
	case "invalid":
		return nil, status.Error(codes.InvalidArgument, "a span is bad\n%ä")
	case "unauthenticated":
		return nil, status.Error(codes.Unauthenticated, "no token")
	}
	return response(receipt), nil
}
