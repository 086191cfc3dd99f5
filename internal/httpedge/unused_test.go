package httpedge_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/httpedge"
	"signalfhir/internal/wiretest"
)

// Only a connection without a request is closed. One whose request is under way gets its
// response.
func TestUnused_ClosesWhatHasNoRequest(t *testing.T) {
	t.Parallel()
	unused := &httpedge.Unused{}
	accepted := make(chan struct{}, 10)
	entered, left := make(chan struct{}), make(chan struct{})
	leave := sync.OnceFunc(func() { close(left) })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(entered)
		<-left
	}))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		unused.Note(c, state)
		if state == http.StateNew {
			accepted <- struct{}{}
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	t.Cleanup(leave)
	open := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(wiretest.Patience)); err != nil {
			t.Fatal(err)
		}
		<-accepted
		return conn
	}
	wantClosed := func(what string, conn net.Conn) {
		t.Helper()
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: got %v, want that it is closed", what, err)
		}
	}
	early, active := open(), open()
	if _, err := io.WriteString(active, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	unused.Close()
	wantClosed("a connection without a request", early)
	wantClosed("one that opens later", open())
	leave()
	if res, err := http.ReadResponse(bufio.NewReader(active), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("the request under way: got %v, %v", res, err)
	}
}
