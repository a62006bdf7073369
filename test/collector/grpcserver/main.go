// A gRPC server for tests of clients. It does everything that a gRPC or HTTP/2 server may do to an OTLP exporter, and
// says what it got.
//
// Usage: grpcserver [-cert FILE -key FILE [-client-ca FILE]]
//
// It prints one line of JSON with its addresses once it listens, and ends when standard input does:
//
//		{"grpc":"127.0.0.1:1","frames":"127.0.0.1:2","aging":"127.0.0.1:3","unix":"/tmp/…"}
//
//	  - grpc is google.golang.org/grpc as a collector uses it. Also on the UNIX socket.
//	  - aging is the same, but closes a connection after 300 ms (MaxConnectionAge), and asks for signs of life
//	    (keepalive).
//	  - frames is made of single HTTP/2 frames, so that it can do what a library would not.
//
// What a server does is said by the metadata x-scenario of each request, see grpc.go and frames.go. An answer to a
// request that was taken carries what arrived as the message of its partial success: see the function receipt.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
)

func main() {
	certificate := flag.String("cert", "", "certificate in PEM: everything is served over TLS")
	key := flag.String("key", "", "its key")
	clientAuthority := flag.String("client-ca", "", "who must have signed the client's certificate")
	flag.Parse()
	config, err := tlsConfig(*certificate, *key, *clientAuthority)
	if err != nil {
		log.Fatal(err)
	}

	directory, err := os.MkdirTemp("", "grpcserver-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(directory)
	socket := filepath.Join(directory, "otlp.sock")

	grpcListener := listen("tcp", "127.0.0.1:0")
	agingListener := listen("tcp", "127.0.0.1:0")
	framesListener := listen("tcp", "127.0.0.1:0")
	unixListener := listen("unix", socket)
	// A forwarder that is not root anymore may connect too.
	if err := os.Chmod(directory, 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		log.Fatal(err)
	}

	server := newServer(config)
	go server.Serve(grpcListener)
	go newServer(nil).Serve(unixListener)
	go newAgingServer(config).Serve(agingListener)
	go serveFrames(framesListener, config)

	addresses := map[string]string{
		"grpc":   grpcListener.Addr().String(),
		"aging":  agingListener.Addr().String(),
		"frames": framesListener.Addr().String(),
		"unix":   socket,
	}
	line, err := json.Marshal(addresses)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
	io.Copy(io.Discard, os.Stdin)
}

func listen(network, address string) net.Listener {
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	return listener
}

// tlsConfig returns nil where no certificate is given.
func tlsConfig(certificate, key, clientAuthority string) (*tls.Config, error) {
	if certificate == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	if clientAuthority != "" {
		text, err := os.ReadFile(clientAuthority)
		if err != nil {
			return nil, err
		}
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(text)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
