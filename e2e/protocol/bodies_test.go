package protocol

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/wiretest"
)

// raw sends bytes on a connection of its own, and returns the connection.
func (s *server) raw(request string) net.Conn {
	s.T.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(wiretest.Patience))
	if _, err := io.WriteString(conn, request); err != nil {
		s.T.Fatal(err)
	}
	return conn
}

// reply reads a response, and whether the server closed the connection after it.
func reply(t *testing.T, conn net.Conn) (res *http.Response, body string, closed bool) {
	t.Helper()
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ReadByte()
	return res, string(data), !errors.Is(err, os.ErrDeadlineExceeded) && err != nil
}

// half is the head of a request, from its second line on, with the beginning of a body.
const half = "Host: localhost\r\nContent-Length: 100\r\n\r\n{\"resource"

// A body that does not come does not keep a connection open, wherever it is sent.
func TestSlowBody_IsRefusedAndClosed(t *testing.T) {
	t.Parallel()
	s := start(t, "--read-timeout", "2s")
	const chunk = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"res\r\n"
	const fhirKind, problem = "application/fhir+json", "application/problem+json"
	for _, row := range []struct {
		request string
		status  int
		kind    string
		says    string
	}{
		{"POST /fhir/R5/Patient HTTP/1.1\r\n" + half, 408, fhirKind, "10 of 100 bytes of the body"},
		{"POST /fhir/R5/Patient HTTP/1.1\r\n" + chunk, 408, fhirKind, "5 bytes of the body"},
		{"PUT /fhir/R5/Patient/p HTTP/1.1\r\n" + half, 408, fhirKind, "--read-timeout"},
		{"PATCH /fhir/R5/Patient/p HTTP/1.1\r\nContent-Type: application/json-patch+json\r\n" + half, 408, fhirKind, "--read-timeout"},
		{"POST /fhir/R5 HTTP/1.1\r\n" + half, 408, fhirKind, "--read-timeout"},
		{"POST /fhir/R5/Patient/_search HTTP/1.1\r\n" + half, 408, fhirKind, "--read-timeout"},
		{"POST /fhir/R5/Subscription/$get-ws-binding-token HTTP/1.1\r\n" + half, 408, fhirKind, "--read-timeout"},
		{"POST /mock/trigger HTTP/1.1\r\n" + half, 408, problem, "2s"},
		{"POST /mock/await HTTP/1.1\r\n" + half, 408, problem, "2s"},
		{"POST /mock/generators HTTP/1.1\r\n" + chunk, 408, problem, "2s"},
		{"PUT /rooms/x HTTP/1.1\r\n" + half, 408, problem, "2s"},
		{"POST /oauth2/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n" + half, 408, fhirKind, "2s"},
		// Refused before the body was read.
		{"POST /nothing HTTP/1.1\r\n" + half, 404, fhirKind, "nothing at this address"},
		{"POST /fhir/R5/Patient HTTP/1.1\r\nOrigin: http://evil.example\r\n" + half, 403, fhirKind, "--allow-origin"},
		{"GET /mock/state HTTP/1.1\r\n" + half, 408, problem, "2s"},
		{"DELETE /fhir/R5/Patient/nobody HTTP/1.1\r\n" + half, 204, "", ""},
	} {
		t.Run(strings.Split(row.request, " HTTP")[0], func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			res, body, closed := reply(t, s.raw(row.request))
			if res.StatusCode != row.status || !strings.HasPrefix(res.Header.Get("Content-Type"), row.kind) || !strings.Contains(body, row.says) {
				t.Errorf("got %d %s %s, want %d %s with %q", res.StatusCode, res.Header.Get("Content-Type"), body, row.status, row.kind, row.says)
			}
			if !closed {
				t.Error("the connection stays open")
			}
		})
	}
}

// Half a head does not keep a connection open either.
func TestSlowBody_HalfAHead(t *testing.T) {
	t.Parallel()
	s := start(t, "--read-timeout", "2s")
	conn := s.raw("GET / HTTP/1.1\r\nHost: local")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection stays open: %v", err)
	}
}

// The time ends with the body. What takes long after it is not cut.
func TestSlowBody_WhatTakesLongIsNotCut(t *testing.T) {
	t.Parallel()
	s := startSeeded(t, "--read-timeout", "1s")
	stream := s.Follow("", "")
	ws := s.Bind("admission-full")
	waited := s.Begin("POST", "/mock/await", `{"sent":{"subscription":"admission-full"}}`)
	// later returns when the time of every request that has begun is over.
	later := func() {
		t.Helper()
		if res, _, _ := reply(t, s.raw("POST /fhir/R5/Patient HTTP/1.1\r\n"+half)); res.StatusCode != 408 {
			t.Fatalf("got %d, want 408", res.StatusCode)
		}
	}
	later()
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"admission-full"}`)
	if f := ws.Next(); f.Kind() != "event-notification" {
		t.Errorf("the socket got %s", f.Kind())
	}
	for {
		name, _, data := stream.Next()
		if strings.Contains(data, "event-notification") {
			break
		}
		if name == "" {
			t.Fatal("the stream was cut")
		}
	}
	if a := <-waited; a.Status != 200 || a.Header.Get("Connection") == "close" {
		t.Errorf("await: got %d %s, want that it waited", a.Status, a.Raw)
	}
	// The next request of a connection has a time of its own.
	conn := s.raw("")
	for range 2 {
		fmt.Fprint(conn, "POST /mock/generators/ward/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
		later()
	}
}

// A body that ends too early, or is not in well-formed chunks, is the client's mistake.
func TestBody_BrokenOnes(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	for _, path := range []string{"/fhir/R5/Patient", "/mock/trigger", "/fhir/R5/Patient/_search", "/rooms/x"} {
		method := "POST "
		if path == "/rooms/x" {
			method = "PUT "
		}
		for name, rest := range map[string]string{
			"too short":     "Content-Length: 100\r\n\r\n{}",
			"no chunk size": "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
			"cut chunk":     "Transfer-Encoding: chunked\r\n\r\n9\r\n{}",
		} {
			conn := s.raw(method + path + " HTTP/1.1\r\nHost: localhost\r\n" + rest)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			res, body, _ := reply(t, conn)
			if res.StatusCode != 400 || !strings.Contains(body, "ends too early or is malformed") {
				t.Errorf("%s, %s: got %d %s, want 400", path, name, res.StatusCode, body)
			}
		}
	}
	for _, coding := range []string{"gzip", "br", "identity, gzip"} {
		for _, path := range []string{"/fhir/R5/Patient", "/mock/trigger", "/oauth2/token"} {
			a := s.Do("POST", path, "\x1f\x8bxxx", "Content-Encoding", coding)
			if a.Status != 415 || !strings.Contains(string(a.Raw), "Content-Encoding \\\""+coding) || a.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("%s %s: got %d %s, want 415", path, coding, a.Status, a.Raw)
			}
		}
	}
	s.Must(201, "POST", "/fhir/R5/Patient", `{"resourceType":"Patient"}`, "Content-Encoding", "identity")
}

// Clients invent methods; metrics have one series for all of them. A socket is counted
// under the status of its response.
func TestMetrics_MethodsAndSockets(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	for _, method := range []string{"SMASH", "BREW", "get"} {
		s.Do(method, "/fhir/R5/Patient", nil)
	}
	for i, path := range socketPaths {
		conn := s.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		want := fmt.Sprintf(`signalfhir_http_requests_total{method="GET",status="101"} %d`, i+1)
		for deadline := time.Now().Add(wiretest.Patience); !strings.Contains(string(s.Must(200, "GET", "/metrics", nil).Raw), want); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: got\n%s\nwant %s", path, s.Must(200, "GET", "/metrics", nil).Raw, want)
			}
		}
	}
	text := string(s.Must(200, "GET", "/metrics", nil).Raw)
	if !strings.Contains(text, `method="other",status="405"} 3`) || strings.Contains(text, "SMASH") {
		t.Errorf("got\n%s\nwant the methods counted as other", text)
	}
}
