package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Receipt is what arrived, for the client to compare with what it sent.
type Receipt struct {
	// SHA-256 of the message, uncompressed, in hexadecimal digits.
	SHA256 string `json:"sha256"`
	Bytes  int    `json:"bytes"`
	// How many requests with the same x-run have come, this one included.
	Requests int `json:"requests"`
	// How many connections they came over.
	Connections int `json:"connections"`
	// Metadata of the request, the first value of each.
	Metadata map[string]string `json:"metadata"`
}

// response is the answer of a collector that took everything and has a word to say: the receipt.
func response(receipt Receipt) *tracepb.ExportTraceServiceResponse {
	text, err := json.Marshal(receipt)
	if err != nil {
		panic(err)
	}
	return &tracepb.ExportTraceServiceResponse{
		PartialSuccess: &tracepb.ExportTracePartialSuccess{ErrorMessage: string(text)},
	}
}

func encoded(receipt Receipt) []byte {
	bytes, err := proto.Marshal(response(receipt))
	if err != nil {
		panic(err)
	}
	return bytes
}

// run counts what belongs together: the requests of one exporter.
type run struct {
	requests    int
	connections map[string]bool
}

var (
	runs     = map[string]*run{}
	runsLock sync.Mutex
)

// note counts a request of a run that came from a client's address.
func note(name, client string) (requests, connections int) {
	runsLock.Lock()
	defer runsLock.Unlock()
	one := runs[name]
	if one == nil {
		one = &run{connections: map[string]bool{}}
		runs[name] = one
	}
	one.requests++
	one.connections[client] = true
	return one.requests, len(one.connections)
}

func digest(message []byte) string {
	sum := sha256.Sum256(message)
	return hex.EncodeToString(sum[:])
}
