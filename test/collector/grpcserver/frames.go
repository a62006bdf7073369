package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// connection is one client, spoken to in single frames.
type connection struct {
	net.Conn
	framer *http2.Framer
	// The request that is under way.
	stream   uint32
	metadata map[string]string
	body     []byte
}

// serveFrames takes connections and does what the first request of each says.
func serveFrames(listener net.Listener, config *tls.Config) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if config != nil {
				conn = tls.Server(conn, config)
			}
			serveConnection(&connection{Conn: conn})
		}()
	}
}

func serveConnection(c *connection) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil || string(preface) != http2.ClientPreface {
		return
	}
	c.framer = http2.NewFramer(c, c)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.WriteSettings()
	for c.readHeaders() {
		scenario, known := scenarios[c.metadata["x-scenario"]]
		if !known {
			scenario = takeAll
		}
		requests, connections := note(c.metadata["x-run"], c.RemoteAddr().String())
		receipt := Receipt{Metadata: c.metadata, Requests: requests, Connections: connections}
		if !scenario(c, receipt) {
			return
		}
	}
}

// next reads a frame, and answers what HTTP/2 wants to be answered at once.
func (c *connection) next() (http2.Frame, bool) {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return nil, false
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				c.framer.WritePing(true, frame.Data)
			}
		default:
			return frame, true
		}
	}
}

// readHeaders waits for the next request.
func (c *connection) readHeaders() bool {
	for {
		frame, ok := c.next()
		if !ok {
			return false
		}
		if headers, is := frame.(*http2.MetaHeadersFrame); is {
			c.stream, c.body, c.metadata = headers.StreamID, nil, map[string]string{}
			for _, field := range headers.Fields {
				c.metadata[field.Name] = field.Value
			}
			return true
		}
	}
}

// readBody reads the request to its end, and grants twice as much as it has read, after a pause.
func (c *connection) readBody(pause time.Duration) bool {
	for {
		frame, ok := c.next()
		if !ok {
			return false
		}
		switch frame := frame.(type) {
		case *http2.DataFrame:
			c.body = append(c.body, frame.Data()...)
			time.Sleep(pause)
			if frame.StreamEnded() {
				return true
			}
			if frame.Length > 0 {
				c.framer.WriteWindowUpdate(0, 2*frame.Length)
				c.framer.WriteWindowUpdate(c.stream, 2*frame.Length)
			}
		case *http2.RSTStreamFrame:
			return false
		}
	}
}

// fields encodes a header block; names and values take turns.
func fields(pairs ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return block.Bytes()
}

func (c *connection) headers(end bool, pairs ...string) {
	c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: c.stream, BlockFragment: fields(pairs...), EndHeaders: true, EndStream: end,
	})
}

// prefixed is a message as gRPC sends it.
func prefixed(message []byte) []byte {
	prefix := make([]byte, 5)
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	return append(prefix, message...)
}

// receipt is the answer of a server that took the request.
func (c *connection) receipt(receipt Receipt) []byte {
	if len(c.body) >= 5 {
		message := c.body[5:]
		receipt.SHA256, receipt.Bytes = digest(message), len(message)
	}
	return prefixed(encoded(receipt))
}

// accept answers as a gRPC server does.
func (c *connection) accept(receipt Receipt) {
	c.headers(false, ":status", "200", "content-type", "application/grpc")
	c.framer.WriteData(c.stream, false, c.receipt(receipt))
	c.headers(true, "grpc-status", "0")
}

// A scenario answers one request. It returns whether the connection is to take another.
type scenario func(*connection, Receipt) bool

func takeAll(c *connection, receipt Receipt) bool {
	if !c.readBody(0) {
		return false
	}
	c.accept(receipt)
	return true
}

// first does something only to the first request of a run; the others are taken.
func first(do scenario) scenario {
	return func(c *connection, receipt Receipt) bool {
		if receipt.Requests > 1 {
			return takeAll(c, receipt)
		}
		return do(c, receipt)
	}
}

// second takes the first request and does something to the next, which comes over a connection that has been used.
func second(do scenario) scenario {
	return func(c *connection, receipt Receipt) bool {
		if receipt.Requests != 2 {
			return takeAll(c, receipt)
		}
		return do(c, receipt)
	}
}

func reset(code http2.ErrCode) scenario {
	return func(c *connection, receipt Receipt) bool {
		c.framer.WriteRSTStream(c.stream, code)
		return true
	}
}

func refuse(pairs ...string) scenario {
	return func(c *connection, receipt Receipt) bool {
		if !c.readBody(0) {
			return false
		}
		c.headers(true, pairs...)
		return true
	}
}

func page(httpStatus, contentType, body string, more ...string) scenario {
	return func(c *connection, receipt Receipt) bool {
		if !c.readBody(0) {
			return false
		}
		c.headers(false, append([]string{":status", httpStatus, "content-type", contentType}, more...)...)
		c.framer.WriteData(c.stream, true, []byte(body))
		return true
	}
}

var scenarios = map[string]scenario{
	// Flow control: the client may send one byte, then as much as was read.
	"tiny-window": func(c *connection, receipt Receipt) bool {
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		return takeAll(c, receipt)
	},
	// A window that becomes smaller while a request is under way is less than nothing for a while (RFC 9113, 6.9.2).
	"shrinking-window": func(c *connection, receipt Receipt) bool {
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
		time.Sleep(50 * time.Millisecond)
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1_000_000})
		return takeAll(c, receipt)
	},
	"slow-read": func(c *connection, receipt Receipt) bool {
		if !c.readBody(5 * time.Millisecond) {
			return false
		}
		c.accept(receipt)
		return true
	},
	"large-frames": func(c *connection, receipt Receipt) bool {
		c.framer.SetMaxReadFrameSize(1 << 20)
		c.framer.WriteSettings(
			http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30},
		)
		c.framer.WriteWindowUpdate(0, 1<<30)
		return takeAll(c, receipt)
	},
	"no-header-table": func(c *connection, receipt Receipt) bool {
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		return takeAll(c, receipt)
	},

	// Streams that are reset.
	"refused-stream":       first(reset(http2.ErrCodeRefusedStream)),
	"always-refused":       reset(http2.ErrCodeRefusedStream),
	"reset-cancel":         reset(http2.ErrCodeCancel),
	"reset-internal":       reset(http2.ErrCodeInternal),
	"enhance-your-calm":    reset(http2.ErrCodeEnhanceYourCalm),
	"answer-then-reset":    answerThenReset,
	"reset-after-headers":  resetAfterHeaders,
	"early-refusal":        earlyRefusal,
	"disconnect":           func(*connection, Receipt) bool { return false },
	"disconnect-on-reuse":  second(func(*connection, Receipt) bool { return false }),
	"disconnect-in-answer": disconnectInAnswer,

	// Connections that the server leaves.
	"goaway-untouched":      first(leave(http2.ErrCodeNo, "moved")),
	"goaway-untouched-calm": first(leave(http2.ErrCodeEnhanceYourCalm, "too_many_pings")),
	"goaway-then-answer": func(c *connection, receipt Receipt) bool {
		// As google.golang.org/grpc does: first all streams are welcome, so that none is lost that is on its way.
		c.framer.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)
		if !c.readBody(0) {
			return false
		}
		c.framer.WriteGoAway(c.stream, http2.ErrCodeNo, nil)
		time.Sleep(20 * time.Millisecond)
		c.accept(receipt)
		return true
	},
	"goaway-after-answer": func(c *connection, receipt Receipt) bool {
		if !c.readBody(0) {
			return false
		}
		c.accept(receipt)
		c.framer.WriteGoAway(c.stream, http2.ErrCodeNo, nil)
		c.linger()
		return false
	},
	"goaway-error-in-request": func(c *connection, receipt Receipt) bool {
		c.framer.WriteGoAway(c.stream, http2.ErrCodeInternal, []byte("panic"))
		return false
	},

	// Where the status is.
	"trailers-only": refuse(":status", "200", "content-type", "application/grpc",
		"grpc-status", "3", "grpc-message", "in%20the headers"),
	"trailers-only-ok": refuse(":status", "200", "content-type", "application/grpc", "grpc-status", "0"),
	"status-in-headers": func(c *connection, receipt Receipt) bool {
		if !c.readBody(0) {
			return false
		}
		c.headers(false, ":status", "200", "content-type", "application/grpc", "grpc-status", "3", "grpc-message", "early")
		c.framer.WriteData(c.stream, true, nil)
		return true
	},
	"no-status": func(c *connection, receipt Receipt) bool {
		if !c.readBody(0) {
			return false
		}
		c.headers(false, ":status", "200", "content-type", "application/grpc")
		c.framer.WriteData(c.stream, true, c.receipt(receipt))
		return true
	},
	"strange-status": refuse(":status", "200", "content-type", "application/grpc", "grpc-status", "4711",
		"grpc-message", "%zz"),
	"content-type-proto": func(c *connection, receipt Receipt) bool {
		if !c.readBody(0) {
			return false
		}
		c.headers(false, ":status", "200", "content-type", "application/grpc+proto")
		c.framer.WriteData(c.stream, false, c.receipt(receipt))
		c.headers(true, "grpc-status", "0")
		return true
	},

	// What answers is not gRPC.
	"web-page":        page("200", "text/html", "<title>Sign in</title>"),
	"json":            page("200", "application/json", `{"partialSuccess":{}}`),
	"bad-gateway":     page("502", "text/html", "<h1>502</h1>", "retry-after", "7"),
	"proxy-error":     page("500", "text/html", "<h1>500</h1>"),
	"not-found":       page("404", "text/plain", "no such path"),
	"too-large-proxy": page("413", "text/html", "<h1>413</h1>"),

	// Interim answers, and other things that may come before the answer.
	"interim": func(c *connection, receipt Receipt) bool {
		for range 3 {
			c.headers(false, ":status", "103", "link", "</x>")
		}
		return takeAll(c, receipt)
	},
	"interim-flood": func(c *connection, receipt Receipt) bool {
		for c.framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: c.stream, BlockFragment: fields(":status", "103"), EndHeaders: true,
		}) == nil {
		}
		return false
	},
	"pings": func(c *connection, receipt Receipt) bool {
		for i := range 100 {
			c.framer.WritePing(false, [8]byte{byte(i)})
		}
		return takeAll(c, receipt)
	},
	"unknown-frames": func(c *connection, receipt Receipt) bool {
		c.framer.WriteRawFrame(0x7b, 0xff, c.stream, []byte("grease"))
		c.framer.WriteRawFrame(0x7b, 0, 0, nil)
		return takeAll(c, receipt)
	},
	"split-everything": splitEverything,
	"overrun-window":   overrunWindow,
	"not-http2": func(c *connection, receipt Receipt) bool {
		c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		return false
	},
}

// leave looks at nothing more, and closes the connection once the client knows.
func leave(code http2.ErrCode, reason string) scenario {
	return func(c *connection, receipt Receipt) bool {
		c.framer.WriteGoAway(0, code, []byte(reason))
		c.linger()
		return false
	}
}

// linger reads until the client closes the connection, so that it gets to read what was said last.
func (c *connection) linger() {
	c.SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, c)
}

func answerThenReset(c *connection, receipt Receipt) bool {
	// A server that has answered early wants no more of the request (RFC 9113, 8.1).
	c.headers(true, ":status", "200", "content-type", "application/grpc", "grpc-status", "8",
		"grpc-message", "received message larger than max ("+strconv.Itoa(5_000_000)+" vs. 4194304)")
	c.framer.WriteRSTStream(c.stream, http2.ErrCodeNo)
	return true
}

func resetAfterHeaders(c *connection, receipt Receipt) bool {
	if !c.readBody(0) {
		return false
	}
	c.headers(false, ":status", "200", "content-type", "application/grpc")
	c.framer.WriteRSTStream(c.stream, http2.ErrCodeInternal)
	return true
}

func earlyRefusal(c *connection, receipt Receipt) bool {
	// Nothing of the body is read, and no window is granted for the rest of it.
	c.headers(true, ":status", "200", "content-type", "application/grpc", "grpc-status", "16", "grpc-message", "no token")
	return true
}

func disconnectInAnswer(c *connection, receipt Receipt) bool {
	if !c.readBody(0) {
		return false
	}
	c.headers(false, ":status", "200", "content-type", "application/grpc")
	c.framer.WriteData(c.stream, false, c.receipt(receipt)[:10])
	return false
}

func splitEverything(c *connection, receipt Receipt) bool {
	if !c.readBody(0) {
		return false
	}
	block := fields(":status", "200", "content-type", "application/grpc")
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: block[:1]})
	// Clients take a few of these: nghttp2 eight.
	for i := 1; i < 4; i++ {
		c.framer.WriteContinuation(c.stream, false, block[i:i+1])
	}
	c.framer.WriteContinuation(c.stream, true, block[4:])
	for _, b := range c.receipt(receipt) {
		c.framer.WriteDataPadded(c.stream, false, []byte{b}, make([]byte, 3))
	}
	c.framer.WriteData(c.stream, false, nil)
	c.headers(true, "grpc-status", "0")
	return true
}

func overrunWindow(c *connection, receipt Receipt) bool {
	if !c.readBody(0) {
		return false
	}
	c.headers(false, ":status", "200", "content-type", "application/grpc")
	// More than the client has granted, which it must not put up with (RFC 9113, 6.9.1).
	chunk := make([]byte, 16384)
	for range 1024 {
		if c.framer.WriteData(c.stream, false, chunk) != nil {
			return false
		}
	}
	return true
}
