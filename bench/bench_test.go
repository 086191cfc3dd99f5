package bench

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/testkit"
)

// BenchmarkStart measures from starting the process to the first 200, as the
// median of the runs. The baseline is the same process doing nothing.
func BenchmarkStart(b *testing.B) {
	program, err := testkit.Program()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("baseline=--version", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			before := time.Now()
			if err := exec.Command(program, "--version").Run(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(before))
		}
		report(b, took)
	})
	b.Run("first-200", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			before := time.Now()
			s := testkit.StartProcess(b)
			get(b, s.FHIR.R5+"/Subscription/admission-full")
			took = append(took, time.Since(before))
			b.StopTimer()
			s.Stop()
			b.StartTimer()
		}
		report(b, took)
	})
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, "ms-median")
}

func get(b *testing.B, url string) {
	b.Helper()
	res, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b.Fatalf("GET %s: %s", url, res.Status)
	}
}

// text returns the body of a response.
func text(b *testing.B, url string) string {
	b.Helper()
	res, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

// BenchmarkWrite measures from sending a write to the frame it causes being
// received. The baseline is a request that does nothing.
func BenchmarkWrite(b *testing.B) {
	s := testkit.StartProcess(b)
	b.Run("baseline=healthz", func(b *testing.B) {
		for b.Loop() {
			get(b, s.URL+"/healthz")
		}
	})
	for _, id := range []string{"admission-empty", "admission-id-only", "admission-full"} {
		b.Run("frame="+id, func(b *testing.B) {
			socket := bind(b, s, id)
			defer socket.Close()
			read(b, socket)
			for b.Loop() {
				res, err := http.Post(s.FHIR.R5+"/Encounter", "application/fhir+json", strings.NewReader(`{"resourceType":"Encounter","status":"in-progress","subject":{"reference":"Patient/example"}}`))
				if err != nil {
					b.Fatal(err)
				}
				res.Body.Close()
				read(b, socket)
			}
			s.Reset()
		})
	}
}

// BenchmarkBind measures from sending bind-with-token to the handshake being
// received. The baseline is a ping on the same socket.
func BenchmarkBind(b *testing.B) {
	s := testkit.StartProcess(b)
	socket := bind(b, s, "lab-full")
	read(b, socket)
	b.Run("baseline=ping", func(b *testing.B) {
		for b.Loop() {
			write(b, socket, "ping")
			read(b, socket)
		}
	})
	b.Run("handshake", func(b *testing.B) {
		token := take(b, s, "lab-full")
		for b.Loop() {
			write(b, socket, "bind-with-token "+token)
			read(b, socket)
		}
	})
}

func take(b *testing.B, s *testkit.Server, id string) string {
	b.Helper()
	var out struct {
		Parameter []struct{ Name, ValueString string }
	}
	s.Post(fmt.Sprintf("%s/Subscription/%s/$get-ws-binding-token", s.FHIR.R5, id), nil, &out)
	return out.Parameter[0].ValueString
}

func bind(b *testing.B, s *testkit.Server, id string) *websocket.Conn {
	b.Helper()
	socket, _, err := websocket.DefaultDialer.Dial(s.WS, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { socket.Close() })
	write(b, socket, "bind-with-token "+take(b, s, id))
	return socket
}

func write(b *testing.B, socket *websocket.Conn, text string) {
	b.Helper()
	if err := socket.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		b.Fatal(err)
	}
}

func read(b *testing.B, socket *websocket.Conn) {
	b.Helper()
	if _, _, err := socket.ReadMessage(); err != nil {
		b.Fatal(err)
	}
}
